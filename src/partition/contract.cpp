#include <algorithm>
#include <numeric>
#include <set>

#include "partition/cut_model.h"

namespace opweave::partition {
namespace {

/// One round of merges on a model.
class Contractor {
 public:
  Contractor(const CutModel& model, double limit)
      : model_(model),
        limit_(limit),
        nets_of_(model.nets_of_vertices()),
        before_(model.vertex_count()),
        after_(model.vertex_count()),
        label_(model.vertex_count()),
        merged_(model.vertex_count()) {
    for (const auto& [a, b] : model.precedence) {
      after_[a].push_back(b);
      before_[b].push_back(a);
    }
    std::iota(label_.begin(), label_.end(), 0U);
    const double total_bytes = std::accumulate(model.bytes.begin(), model.bytes.end(), 0.0);
    for (const DeviceKind& kind : model.kinds) {
      if (!kind.pays_transfers) free_riders_ += kind.count;
      memory_is_ample_ = memory_is_ample_ && (kind.count == 0 || total_bytes <= kind.capacity);
    }
  }

  /// The labels of vertices to merge; each vertex takes part in at most one merge. Nothing if there is none.
  [[nodiscard]] const std::vector<std::uint32_t>* run() {
    for (const Net& net : model_.nets) {
      if (must_stay_whole(net)) {
        for (const Vertex vertex : net.pins) join(net.pins.front(), vertex);
      }
    }
    if (any_) return &label_;
    for (Vertex vertex = 0; vertex < model_.vertex_count(); ++vertex) {
      if (before_[vertex].size() == 1) try_pair(vertex, before_[vertex].front());
      if (after_[vertex].size() == 1) try_pair(vertex, after_[vertex].front());
    }
    return any_ ? &label_ : nullptr;
  }

 private:
  /// Some device that pays would pay this net and work for one of its pins.
  [[nodiscard]] bool must_stay_whole(const Net& net) const {
    if (free_riders_ > 1) return false;  // two devices that do not pay may share it
    double least = std::numeric_limits<double>::infinity();
    for (const DeviceKind& kind : model_.kinds) {
      if (!kind.pays_transfers || kind.count == 0) continue;
      for (const Vertex vertex : net.pins) least = std::min(least, kind.work[vertex]);
    }
    return net.cost + least >= limit_;
  }

  void try_pair(Vertex vertex, Vertex other) {
    if (merged_[vertex] != 0 || merged_[other] != 0 || !joins(vertex, other)) return;
    if (!is_idle(vertex) && free_riders_ > 0 &&
        !(free_riders_ == 1 && follows(other, vertex) && joins(other, vertex))) {
      return;
    }
    merged_[vertex] = merged_[other] = 1;
    join(other, vertex);
  }

  [[nodiscard]] bool is_idle(Vertex vertex) const {
    return std::all_of(model_.kinds.begin(), model_.kinds.end(),
                       [&](const DeviceKind& kind) { return kind.count == 0 || kind.work[vertex] == 0; });
  }

  /// Moving `vertex` to the device of `other` breaks no precedence.
  [[nodiscard]] bool follows(Vertex vertex, Vertex other) const {
    return (before_[vertex].size() == 1 && before_[vertex].front() == other) ||
           (after_[vertex].size() == 1 && after_[vertex].front() == other);
  }

  /// Moving `vertex` to the device of `other`, if that pays transfers, raises no load.
  [[nodiscard]] bool joins(Vertex vertex, Vertex other) const {
    if (!memory_is_ample_ && model_.bytes[vertex] > 0) return false;
    double saved = 0;
    double added = 0;
    for (const std::uint32_t n : nets_of_[vertex]) {
      const Net& net = model_.nets[n];
      if (!std::binary_search(net.pins.begin(), net.pins.end(), other)) {
        added += net.cost;
      } else if (net.pins.size() == 2) {
        saved += net.cost;
      }
    }
    for (const DeviceKind& kind : model_.kinds) {
      if (kind.count > 0 && kind.pays_transfers && saved < added + kind.work[vertex]) return false;
    }
    return true;
  }

  void join(Vertex a, Vertex b) {
    const std::uint32_t to = std::min(label_[a], label_[b]);
    const std::uint32_t from = std::max(label_[a], label_[b]);
    if (from == to) return;
    std::replace(label_.begin(), label_.end(), from, to);
    any_ = true;
  }

  const CutModel& model_;
  const double limit_;
  std::vector<std::vector<std::uint32_t>> nets_of_;
  std::vector<std::vector<Vertex>> before_;
  std::vector<std::vector<Vertex>> after_;
  std::vector<std::uint32_t> label_;
  std::vector<std::uint8_t> merged_;
  std::uint32_t free_riders_ = 0;  ///< devices that do not pay
  bool memory_is_ample_ = true;
  bool any_ = false;
};

}  // namespace

Contraction contract(const CutModel& model, double limit) {
  std::vector<std::uint32_t> all(model.vertex_count());
  std::iota(all.begin(), all.end(), 0U);
  Contraction result = merge(model, all);
  while (true) {
    Contractor contractor(result.model, limit);
    const std::vector<std::uint32_t>* label = contractor.run();
    if (label == nullptr) return result;
    const Contraction merged = merge(result.model, *label);
    Contraction acyclic = merge_circles(merged.model);
    for (Vertex& vertex : result.vertex_of) vertex = acyclic.vertex_of[merged.vertex_of[vertex]];
    result.model = std::move(acyclic.model);
  }
}

}  // namespace opweave::partition
