#include "planner/block_memory.h"

#include <algorithm>
#include <map>
#include <utility>

namespace opweave {
namespace {

/// Bytes held over the time of a piece. Intervals are half-open, as everywhere.
class Profile {
 public:
  void hold(Duration from, Duration until, Bytes size) {
    if (from >= until) return;
    changes_[from] += size;
    changes_[until] += Bytes(-size.value());
  }
  [[nodiscard]] Bytes peak() const {
    Bytes held;
    Bytes peak;
    for (const auto& [time, change] : changes_) {
      held += change;
      peak = std::max(peak, held);
    }
    return peak;
  }

 private:
  std::map<Duration, Bytes> changes_;
};

class Builder {
 public:
  Builder(const ComputationGraph& graph, const std::vector<Piece>& pieces, const std::vector<std::size_t>& piece_of,
          const std::vector<std::vector<TimedPiece>>& timed)
      : graph_(graph), pieces_(pieces), piece_of_(piece_of), timed_(timed), place_(graph.operators().size()) {
    for (const Piece& piece : pieces) {
      for (std::size_t i = 0; i < piece.operators.size(); ++i) place_[piece.operators[i].index()] = i;
    }
  }

  BlockMemory build() {
    sort_tensors();
    BlockMemory result;
    for (std::size_t p = 0; p < pieces_.size(); ++p) result.workspaces.push_back(fit(p));
    result.tensors = std::move(between_);
    return result;
  }

 private:
  /// Whether a tensor is seen outside of one piece, and by whom.
  void sort_tensors() {
    inside_.resize(pieces_.size());
    dying_.resize(pieces_.size());
    newborn_.resize(pieces_.size());
    for (std::size_t t = 0; t < graph_.tensors().size(); ++t) {
      const Tensor& tensor = graph_.tensors()[t];
      BlockTensor entry{TensorId(t), tensor.size, std::nullopt, {}};
      if (tensor.producer) entry.producer = piece_of_[tensor.producer->index()];
      for (const OperatorId consumer : tensor.consumers) {
        const std::size_t piece = piece_of_[consumer.index()];
        if (piece != entry.producer) entry.consumers.push_back(piece);
      }
      std::ranges::sort(entry.consumers);
      entry.consumers.erase(std::unique(entry.consumers.begin(), entry.consumers.end()), entry.consumers.end());
      if (!entry.producer && entry.consumers.empty()) continue;
      if (entry.consumers.empty()) {
        inside_[*entry.producer].emplace_back(t);
        continue;
      }
      const bool has_one_consumer = entry.consumers.size() == 1 && !is_optimizer(entry.consumers.front());
      if (has_one_consumer && !entry.producer) {
        inside_[entry.consumers.front()].emplace_back(t);
        continue;
      }
      if (has_one_consumer) dying_[entry.consumers.front()].push_back(between_.size());
      if (entry.producer) newborn_[*entry.producer].push_back(between_.size());
      between_.push_back(std::move(entry));
    }
  }

  [[nodiscard]] bool is_optimizer(std::size_t piece) const { return pieces_[piece].phase == Phase::kOptimizer; }

  /// From the first use of a tensor in a piece to its last: the maker's start, the end of the last reader.
  std::pair<Duration, Duration> span_in(std::size_t piece, const TimedPiece& timed, const Tensor& tensor) const {
    Duration from = timed.length;
    Duration until;
    const auto touch = [&](OperatorId op) {
      if (piece_of_[op.index()] != piece) return;
      from = std::min(from, timed.starts[place_[op.index()]]);
      until = std::max(until, timed.ends[place_[op.index()]]);
    };
    if (tensor.producer) touch(*tensor.producer);
    for (const OperatorId consumer : tensor.consumers) touch(consumer);
    return {from, until};
  }

  /// Most that a piece holds at once of its workspaces and of what is not there during the whole piece.
  Bytes peak_of(std::size_t piece, const TimedPiece& timed) const {
    Profile profile;
    for (std::size_t i = 0; i < timed.starts.size(); ++i) {
      profile.hold(timed.starts[i], timed.ends[i], timed.workspaces[i]);
    }
    for (const TensorId tensor : inside_[piece]) {
      const auto [from, until] = span_in(piece, timed, graph_.at(tensor));
      profile.hold(from, until, graph_.at(tensor).size);
    }
    for (const std::size_t index : dying_[piece]) {
      const Tensor& tensor = graph_.at(*between_[index].tensor);
      profile.hold(Duration(), span_in(piece, timed, tensor).second, tensor.size);
    }
    for (const std::size_t index : newborn_[piece]) {
      const Tensor& tensor = graph_.at(*between_[index].tensor);
      profile.hold(span_in(piece, timed, tensor).first, timed.length, tensor.size);
    }
    return profile.peak();
  }

  /// The workspace with which a piece holds its peak. Where its inputs and outputs alone are more, outputs take the
  /// place of inputs as far as both stay on the device.
  Bytes fit(std::size_t piece) {
    Bytes peak;
    for (const TimedPiece& timed : timed_[piece]) peak = std::max(peak, peak_of(piece, timed));
    Bytes sum;
    for (const std::size_t index : dying_[piece]) sum += graph_.at(*between_[index].tensor).size;
    for (const std::size_t index : newborn_[piece]) sum += graph_.at(*between_[index].tensor).size;
    if (sum <= peak) return peak - sum;
    replace_in_place(piece, sum - peak);
    return Bytes();
  }

  /// All who touch it are pieces of one block, so that it never leaves the device.
  [[nodiscard]] bool stays(const BlockTensor& tensor) const {
    const Piece& maker = pieces_[*tensor.producer];
    const auto is_of_block = [&](std::size_t other) {
      return pieces_[other].block == maker.block && !is_optimizer(other);
    };
    return !maker.block.empty() && is_of_block(*tensor.producer) && std::ranges::all_of(tensor.consumers, is_of_block);
  }

  void replace_in_place(std::size_t piece, Bytes excess) {
    std::vector<std::size_t> inputs = dying_[piece];
    std::vector<std::size_t> outputs = newborn_[piece];
    const auto leaves = [&](std::size_t index) { return !stays(between_[index]); };
    std::erase_if(inputs, leaves);
    std::erase_if(outputs, leaves);
    for (auto in = inputs.begin(), out = outputs.begin(); in != inputs.end() && out != outputs.end();) {
      const Bytes size = std::min({between_[*in].size, between_[*out].size, excess});
      if (excess == Bytes()) return;
      if (size > Bytes()) {
        between_.push_back({std::nullopt, size, between_[*in].producer, between_[*out].consumers});
        between_[*in].size -= size;
        between_[*out].size -= size;
        excess -= size;
      }
      if (between_[*in].size == Bytes()) {
        ++in;
      } else {
        ++out;
      }
    }
  }

  const ComputationGraph& graph_;
  const std::vector<Piece>& pieces_;
  const std::vector<std::size_t>& piece_of_;
  const std::vector<std::vector<TimedPiece>>& timed_;
  std::vector<std::size_t> place_;  // of an operator in its piece
  std::vector<BlockTensor> between_;
  std::vector<std::vector<TensorId>> inside_;      // by piece: tensors that nobody else sees
  std::vector<std::vector<std::size_t>> dying_;    // by piece: of between_, those that it is the last to read
  std::vector<std::vector<std::size_t>> newborn_;  // by piece: of between_, those that it makes
};

}  // namespace

BlockMemory block_memory(const ComputationGraph& graph, const std::vector<Piece>& pieces,
                         const std::vector<std::size_t>& piece_of, const std::vector<std::vector<TimedPiece>>& timed) {
  return Builder(graph, pieces, piece_of, timed).build();
}

}  // namespace opweave
