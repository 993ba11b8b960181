#include <algorithm>
#include <optional>

#include "core/infinity.h"
#include "partition/device_counts.h"
#include "partition/ordered.h"
#include "partition/topological.h"

namespace opweave::partition {
namespace {

/// Cuts one order of the vertices into parts by dynamic programming over its prefixes.
class OrderCutter {
 public:
  OrderCutter(const CutModel& model, const Budget& budget)
      : model_(model),
        budget_(budget),
        counts_(model),
        nets_of_(model.nets_of_vertices()),
        inside_(model.nets.size()) {}

  /// The best cut of the order, if it is below `limit`.
  OrderedAnswer cut(const std::vector<Vertex>& order, double limit) {
    const std::size_t count = order.size();
    std::vector<Step> table((count + 1) * counts_.size());
    const auto row = [&](std::size_t prefix) { return table.data() + prefix * counts_.size(); };
    row(0)[0].value = 0;
    std::vector<double> load(model_.kinds.size());
    for (std::size_t from = 0; from < count; ++from) {
      if (budget_.expired()) return {};
      std::fill(inside_.begin(), inside_.end(), 0);
      std::vector<double> work(model_.kinds.size());
      double bytes = 0;
      double cut = 0;
      for (std::size_t to = from; to < count; ++to) {
        ++work_;
        bytes += model_.bytes[order[to]];
        for (const std::uint32_t n : nets_of_[order[to]]) {
          const Net& net = model_.nets[n];
          ++inside_[n];
          if (inside_[n] == 1) cut += net.cost;
          if (inside_[n] == net.pins.size()) cut -= net.cost;
        }
        for (std::size_t kind = 0; kind < model_.kinds.size(); ++kind) {
          work[kind] += model_.kinds[kind].work[order[to]];
          load[kind] = work[kind] + (model_.kinds[kind].pays_transfers ? std::max(cut, 0.0) : 0);
          if (bytes > model_.kinds[kind].capacity) load[kind] = kInfinity;
        }
        relax(row(from), row(to + 1), from, load);
        // Work and bytes only grow with the part.
        bool may_grow = false;
        for (std::size_t kind = 0; kind < model_.kinds.size(); ++kind) {
          may_grow =
              may_grow || (model_.kinds[kind].count > 0 && work[kind] < limit && bytes <= model_.kinds[kind].capacity);
        }
        if (!may_grow) break;
      }
    }
    return trace(table, order);
  }

  /// Device after device takes vertices in the order while work and memory allow, with the least limit on the work for
  /// which the devices suffice. O(vertices) for each of some limits.
  [[nodiscard]] OrderedAnswer fill(const std::vector<Vertex>& order) const {
    OrderedAnswer answer;
    double low = 0;
    double high = 0;
    for (const Vertex vertex : order) high += finite_work(vertex);
    constexpr int kHalvings = 30;
    for (int i = 0; i < kHalvings; ++i) {
      const double limit = i == 0 ? high : low + (high - low) / 2;
      std::optional<Assignment> assignment = fill(order, limit);
      if (i > 0) (assignment ? high : low) = limit;
      if (!assignment) {
        if (i == 0) break;
        continue;
      }
      const double value = largest_load(model_, *assignment);
      if (value < answer.value) {
        answer.value = value;
        answer.assignment = std::move(assignment);
      }
    }
    return answer;
  }

 private:
  struct Step {
    double value = kInfinity;
    std::uint32_t from = 0;
    std::uint32_t kind = 0;
  };

  [[nodiscard]] double finite_work(Vertex vertex) const {
    double least = kInfinity;
    for (const DeviceKind& kind : model_.kinds) {
      if (kind.count > 0) least = std::min(least, kind.work[vertex]);
    }
    return least < kInfinity ? least : 0;
  }

  [[nodiscard]] std::optional<Assignment> fill(const std::vector<Vertex>& order, double limit) const {
    Assignment assignment(order.size());
    std::size_t device = 0;
    double work = 0;
    double bytes = 0;
    for (const Vertex vertex : order) {
      for (;; ++device, work = 0, bytes = 0) {
        if (device == model_.device_count()) return std::nullopt;
        const DeviceKind& kind = model_.kind_of(device);
        if (work + kind.work[vertex] > limit || bytes + model_.bytes[vertex] > kind.capacity) continue;
        work += kind.work[vertex];
        bytes += model_.bytes[vertex];
        assignment[vertex] = static_cast<std::uint32_t>(device);
        break;
      }
    }
    return assignment;
  }

  void relax(const Step* source, Step* target, std::size_t from, const std::vector<double>& load) const {
    for (std::size_t code = 0; code < counts_.size(); ++code) {
      if (source[code].value == kInfinity) continue;
      for (std::size_t kind = 0; kind < load.size(); ++kind) {
        if (counts_.left(code, kind) == 0) continue;
        Step& step = target[counts_.with(code, kind)];
        const double value = std::max(source[code].value, load[kind]);
        if (value < step.value) step = {value, static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(kind)};
      }
    }
  }

  [[nodiscard]] OrderedAnswer trace(const std::vector<Step>& table, const std::vector<Vertex>& order) const {
    OrderedAnswer answer;
    answer.work = work_;
    const Step* last = table.data() + order.size() * counts_.size();
    std::size_t code = 0;
    for (std::size_t c = 0; c < counts_.size(); ++c) {
      if (last[c].value < last[code].value) code = c;
    }
    if (last[code].value == kInfinity) return answer;
    answer.value = last[code].value;
    answer.assignment.emplace(order.size());
    for (std::size_t prefix = order.size(); prefix > 0;) {
      const Step& step = table[prefix * counts_.size() + code];
      code = counts_.without(code, step.kind);
      const std::size_t device = model_.first_device(step.kind) + counts_.used(code, step.kind);
      for (std::size_t i = step.from; i < prefix; ++i) {
        (*answer.assignment)[order[i]] = static_cast<std::uint32_t>(device);
      }
      prefix = step.from;
    }
    return answer;
  }

  const CutModel& model_;
  const Budget& budget_;
  DeviceCounts counts_;
  std::vector<std::vector<std::uint32_t>> nets_of_;
  std::vector<std::size_t> inside_;  ///< by net: pins in the part
  std::uint64_t work_ = 0;
};

}  // namespace

OrderedAnswer cut_orders(const CutModel& model, const Budget& budget) {
  OrderCutter cutter(model, budget);
  OrderedAnswer best;
  const auto take = [&](OrderedAnswer answer) {
    const std::uint64_t work = std::max(best.work, answer.work);
    if (answer.value < best.value) best = std::move(answer);
    best.work = work;
  };
  for (const std::vector<Vertex>& order : topological_orders(model)) {
    take(cutter.fill(order));
    take(cutter.cut(order, best.value));
  }
  return best;
}

}  // namespace opweave::partition
