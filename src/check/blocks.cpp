#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {
namespace {

/// What the phases of a block are for the order of its pieces.
enum class Part : std::uint8_t { kForward, kInputGradient, kWeightGradient, kWholeBackward, kOptimizer };

/// The tasks of one block, phase and copy.
struct PieceRun {
  const Run* first = nullptr;  ///< the task that starts first
  DeviceId device;
  Duration start;
  Duration end;
};

class BlocksCheck {
 public:
  BlocksCheck(const Reading& reading, ViolationList& violations) : reading_(reading), violations_(violations) {}

  void check() {
    if (!number_pieces()) return;
    collect();
    check_homes();
    check_alone();
    check_needs();
    check_order();
    check_transfers();
  }

 private:
  [[nodiscard]] Blocks blocks() const { return reading_.plan().settings.blocks; }

  /// Stage or layer; empty without one.
  [[nodiscard]] std::string label(const Operator& op) const {
    if (blocks() == Blocks::kLayer) return op.layer;
    return op.stage ? std::to_string(op.stage->index()) : "";
  }

  static Part part_of(Phase phase, bool backward_is_whole) {
    switch (phase) {
      case Phase::kNone:
      case Phase::kForward:
        return Part::kForward;
      case Phase::kOptimizer:
        return Part::kOptimizer;
      case Phase::kBackward:
        return Part::kWholeBackward;
      case Phase::kInputGradient:
        return backward_is_whole ? Part::kWholeBackward : Part::kInputGradient;
      case Phase::kWeightGradient:
        return backward_is_whole ? Part::kWholeBackward : Part::kWeightGradient;
    }
    return Part::kForward;
  }

  bool number_pieces() {
    const std::vector<Operator>& operators = reading_.graph().operators();
    std::map<std::string, bool> has_whole_backward;
    for (const Operator& op : operators) {
      if (op.phase == Phase::kBackward) has_whole_backward[label(op)] = true;
    }
    for (std::size_t i = 0; i < operators.size(); ++i) {
      const Operator& op = operators[i];
      const std::string block = label(op);
      if (block.empty() && op.phase != Phase::kOptimizer) {
        violations_.add(Rule::kBlocks, [&] {
          return fmt::format("operator \"{}\" has no {}, by which its settings ask for blocks", op.name,
                             to_string(blocks()));
        });
        return false;
      }
      // An optimizer operator outside of all blocks is a piece of its own.
      const std::string own = block.empty() ? "operator " + op.name : "block " + block;
      const Part part = part_of(op.phase, has_whole_backward[block]);
      const auto [entry, is_new] = numbers_.try_emplace({own, part}, first_.size());
      if (is_new) {
        first_.push_back(pieces_.size());
        is_update_.push_back(part == Part::kWeightGradient || part == Part::kWholeBackward);
        pieces_.resize(pieces_.size() + reading_.copies(OperatorId(i)));
      }
      piece_of_.push_back(entry->second);
    }
    return true;
  }

  [[nodiscard]] std::size_t piece(const Run& run) const { return first_[piece_of_[run.op.index()]] + run.copy; }

  void collect() {
    for (const Run& run : reading_.runs()) {
      if (!run.present) continue;
      if (run.devices.size() != 1) {
        violations_.add(Rule::kBlocks, [&] {
          return fmt::format("task {} runs on {} devices, expected one for a part of a block", reading_.name(run),
                             run.devices.size());
        });
        continue;
      }
      PieceRun& whole = pieces_[piece(run)];
      if (whole.first == nullptr) {
        whole = {&run, run.devices.front(), run.start, run.end};
        continue;
      }
      if (run.start < whole.start) whole.first = &run;
      whole.start = std::min(whole.start, run.start);
      whole.end = std::max(whole.end, run.end);
    }
  }

  /// In each replica a block lives on one device.
  void check_homes() {
    std::map<std::pair<std::string, std::uint32_t>, const Run*> home;
    for (const Run& run : reading_.runs()) {
      if (!run.present || run.devices.size() != 1) continue;
      const std::string block = label(reading_.graph().at(run.op));
      if (block.empty()) continue;
      const Run* example = home.try_emplace({block, run.replica}, &run).first->second;
      if (example->devices.front() == run.devices.front()) continue;
      violations_.add(Rule::kBlocks, [&] {
        return fmt::format("task {} runs on {}, but {} on {}: both are of {} {}", reading_.name(run),
                           reading_.names(run.devices), reading_.name(*example), reading_.names(example->devices),
                           to_string(blocks()), block);
      });
    }
  }

  /// While a piece runs, its device runs nothing else.
  void check_alone() {
    std::vector<Occupation> occupations;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (pieces_[i].first != nullptr) {
        occupations.push_back({pieces_[i].device.index(), pieces_[i].start, pieces_[i].end, i});
      }
    }
    find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
      violations_.add(Rule::kBlocks, [&] {
        return fmt::format("{} runs on {} until {} ns, but {} starts at {} ns", name(pieces_[earlier.user]),
                           reading_.name(DeviceId(later.resource)), earlier.end.value(), name(pieces_[later.user]),
                           later.start.value());
      });
    });
  }

  /// "the piece of "a.F#3"": by the task that starts first.
  [[nodiscard]] std::string name(const PieceRun& whole) const {
    return fmt::format("the piece of {}", reading_.name(*whole.first));
  }

  void require_before(const PieceRun& earlier, const PieceRun& later) {
    if (earlier.first == nullptr || later.first == nullptr || earlier.end <= later.start) return;
    violations_.add(Rule::kBlocks, [&] {
      return fmt::format("{} starts at {} ns, but {}, which comes before it, ends at {} ns", name(later),
                         later.start.value(), name(earlier), earlier.end.value());
    });
  }

  /// What the operators of a piece need from other pieces has ended when the piece starts.
  void check_needs() {
    const ComputationGraph& graph = reading_.graph();
    // Of all pieces that update a parameter, the one that ends last; and of all that update anything. Where a backward
    // is one piece, its I and W are not told apart.
    std::vector<const PieceRun*> last_update(graph.parameters().size(), nullptr);
    const PieceRun* last_of_all = nullptr;
    const auto keep_later = [](const PieceRun*& last, const PieceRun& other) {
      if (other.first != nullptr && (last == nullptr || last->end < other.end)) last = &other;
    };
    for (const Run& run : reading_.runs()) {
      const Operator& op = graph.at(run.op);
      if (!is_update_[piece_of_[run.op.index()]]) continue;
      keep_later(last_of_all, pieces_[piece(run)]);
      for (const ParameterId parameter : op.parameters) keep_later(last_update[parameter.index()], pieces_[piece(run)]);
    }
    for (const Run& run : reading_.runs()) {
      const Operator& op = graph.at(run.op);
      const std::size_t own = piece(run);
      const auto require = [&](const Run& earlier) {
        if (piece(earlier) != own) require_before(pieces_[piece(earlier)], pieces_[own]);
      };
      for (const TensorId input : op.inputs) {
        reading_.for_each_consumed_copy(run, input, [&](std::uint32_t copy) {
          if (const Run* maker = reading_.maker(input, copy)) require(*maker);
        });
      }
      for (const OperatorId earlier : op.after) {
        if (reading_.per_replica(earlier) == reading_.per_replica(run.op)) {
          require(reading_.run(earlier, run.copy));
        } else {
          for (const Run& each : reading_.runs_of(earlier)) require(each);
        }
      }
      if (op.phase != Phase::kOptimizer) continue;
      if (op.parameters.empty() && last_of_all != nullptr) require_before(*last_of_all, pieces_[own]);
      for (const ParameterId parameter : op.parameters) {
        const PieceRun* update = last_update[parameter.index()];
        if (update != nullptr) require_before(*update, pieces_[own]);
      }
    }
  }

  /// A block's backward comes after its forward, and W after I.
  void check_order() {
    for (const auto& [key, number] : numbers_) {
      const auto require_after = [&](Part before) {
        const auto found = numbers_.find({key.first, before});
        if (found == numbers_.end()) return;
        for (std::uint32_t copy = 0; copy < reading_.training().microbatches; ++copy) {
          require_before(pieces_[first_[found->second] + copy], pieces_[first_[number] + copy]);
        }
      };
      if (key.second == Part::kForward || key.second == Part::kOptimizer) continue;
      require_after(Part::kForward);
      if (key.second == Part::kWeightGradient) require_after(Part::kInputGradient);
    }
  }

  /// What a piece makes leaves at its end or later; what is sent to a piece is there when it starts.
  void check_transfers() {
    for (const KnownTransfer& transfer : reading_.transfers()) {
      const Run* maker = reading_.maker(transfer.tensor, transfer.copy);
      const PieceRun* from = maker != nullptr ? &pieces_[piece(*maker)] : nullptr;
      if (from != nullptr && from->first != nullptr && transfer.start < from->end) {
        violations_.add(Rule::kBlocks, [&] {
          return fmt::format("transfer of {} to {} starts at {} ns, but {} ends at {} ns",
                             reading_.name(transfer.tensor, transfer.copy), reading_.name(transfer.destination),
                             transfer.start.value(), name(*from), from->end.value());
        });
      }
      for (const OperatorId consumer : reading_.graph().at(transfer.tensor).consumers) {
        const bool reads_all = reading_.per_replica(consumer) && !(maker != nullptr && reading_.per_replica(maker->op));
        if (!reads_all) {
          check_arrival(transfer, reading_.run(consumer, transfer.copy));
          continue;
        }
        for (const Run& run : reading_.runs_of(consumer)) check_arrival(transfer, run);
      }
    }
  }

  void check_arrival(const KnownTransfer& transfer, const Run& run) {
    if (!run.present || run.devices.size() != 1 || run.devices.front() != transfer.destination) return;
    const PieceRun& whole = pieces_[piece(run)];
    if (whole.start >= transfer.end) return;
    violations_.add(Rule::kBlocks, [&] {
      return fmt::format("{} starts at {} ns, but the transfer of {} to it ends at {} ns", name(whole),
                         whole.start.value(), reading_.name(transfer.tensor, transfer.copy), transfer.end.value());
    });
  }

  const Reading& reading_;
  ViolationList& violations_;
  std::map<std::pair<std::string, Part>, std::size_t> numbers_;
  std::vector<std::size_t> first_;     // of pieces_, by number
  std::vector<bool> is_update_;        // by number
  std::vector<std::size_t> piece_of_;  // number, by operator
  std::vector<PieceRun> pieces_;       // a number's copies side by side
};

}  // namespace

void check_blocks(const Reading& reading, ViolationList& violations) {
  if (reading.plan().settings.blocks != Blocks::kNone) BlocksCheck(reading, violations).check();
}

}  // namespace opweave::checking
