#include "strategy/profiled_bound.h"

#include <algorithm>
#include <cmath>

#include "core/infinity.h"
#include "strategy/profiled_operators.h"

namespace opweave::strategy {
namespace {

/// Milliseconds per MB. A bound holds for every price, so that none is missed by much is enough.
std::vector<double> prices() {
  std::vector<double> result = {0};
  for (double price = 1e-5; price < 0.2; price *= 1.5) result.push_back(price);
  return result;
}

}  // namespace

/// Sums over the first operators, and what depends on the ends of a stage alone.
struct ProfiledBound::Totals {
  std::vector<std::vector<double>> cost;  ///< by price, then operators so far: milliseconds and paid memory
  std::vector<double> input_ms;           ///< by operator
  std::vector<double> output_ms;
  std::vector<double> input_mb;
  std::vector<double> reserved_mb;

  Totals(const OperatorProfiles& profiles, std::uint32_t sequences, std::uint32_t devices, double flights,
         const std::vector<double>& prices);
};

ProfiledBound::Totals::Totals(const OperatorProfiles& profiles, std::uint32_t sequences, std::uint32_t devices,
                              double flights, const std::vector<double>& prices)
    : cost(prices.size(), {0}) {
  const std::size_t count = profiles.operators();
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<double> least(prices.size(), kInfinity);
    double ends[4] = {kInfinity, kInfinity, kInfinity, kInfinity};
    const std::size_t row = profiles.row(i);
    const bool may_save = row >= profiles.head && i + 2 < count && profiles.row(i + 1) != profiles.head;
    for (const auto& [key, table] : profiles.tables) {
      if (devices % key.tensor != 0 || key.sequences * (devices / key.tensor) != sequences) continue;
      const OperatorProfile& op = table[row];
      const double kept = kept_mb(op) * flights;
      for (std::size_t p = 0; p < prices.size(); ++p) {
        const double again = may_save ? std::min(prices[p] * kept, op.forward_ms) : prices[p] * kept;
        const double here = op.forward_ms + op.backward_ms + again + prices[p] * kStatesPerWeight * op.weights_mb;
        least[p] = std::min(least[p], here);
      }
      const auto transfer = [&](double mb) {
        return std::min(transfer_ms(profiles, mb, false), transfer_ms(profiles, mb, true));
      };
      const double values[] = {transfer(op.input_mb), transfer(op.output_mb), op.input_mb,
                               op.forward_reserved_mb + op.backward_reserved_mb};
      for (std::size_t k = 0; k < 4; ++k) ends[k] = std::min(ends[k], values[k]);
    }
    for (std::size_t p = 0; p < prices.size(); ++p) cost[p].push_back(cost[p].back() + least[p]);
    input_ms.push_back(ends[0]);
    output_ms.push_back(ends[1]);
    input_mb.push_back(ends[2]);
    reserved_mb.push_back(ends[3]);
  }
}

ProfiledBound::ProfiledBound(const OperatorProfiles& profiles, const ProfileTask& task, std::uint32_t sequences)
    : profiles_(profiles), task_(task), sequences_(sequences), count_(profiles.operators()) {
  for (std::uint32_t size = 1; size <= task.devices; size *= 2) {
    const auto is_possible = [&](const auto& entry) {
      return size % entry.first.tensor == 0 && entry.first.sequences * (size / entry.first.tensor) == sequences;
    };
    if (std::ranges::any_of(profiles.tables, is_possible)) sizes_.push_back(size);
  }
  stage_.assign(task.devices * sizes_.size() * (count_ + 1) * (count_ + 1), kInfinity);
  for (std::size_t behind = 0; behind < task.devices; ++behind) {
    for (std::size_t size = 0; size < sizes_.size(); ++size) add_stages(size, behind);
  }
}

void ProfiledBound::add_stages(std::size_t size, std::size_t behind) {
  // Each stage behind needs a device.
  if (sizes_[size] + behind > task_.devices) return;
  const std::vector<double> price = prices();
  const auto flights = static_cast<double>(behind + 1);
  const Totals totals(profiles_, sequences_, sizes_[size], flights, price);
  for (std::size_t begin = 0; begin < count_; ++begin) {
    double reserved = 0;  // of operators before the last
    for (std::size_t end = begin + 1; end <= count_; ++end) {
      const double fixed = flights * totals.input_mb[begin] + reserved - task_.memory_mb;
      double least = 0;
      for (std::size_t p = 0; p < price.size(); ++p) {
        least = std::max(least, totals.cost[p][end] - totals.cost[p][begin] + price[p] * fixed);
      }
      const std::size_t place = (behind * sizes_.size() + size) * (count_ + 1) + begin;
      stage_[place * (count_ + 1) + end] = least + totals.input_ms[begin] + totals.output_ms[end - 1];
      reserved = std::max(reserved, totals.reserved_mb[end - 1]);
    }
  }
}

std::vector<std::vector<std::uint32_t>> ProfiledBound::devices_from(double limit) const {
  std::vector<std::vector<std::uint32_t>> result(task_.devices, std::vector<std::uint32_t>(count_ + 1, kNever));
  for (std::size_t behind = 0; behind < task_.devices; ++behind) {
    for (std::size_t begin = 0; begin < count_; ++begin) {
      std::uint32_t& least = result[behind][begin];
      for (std::size_t end = behind == 0 ? count_ : begin + 1; end <= count_; ++end) {
        const std::uint32_t others = behind == 0 ? 0 : result[behind - 1][end];
        for (std::size_t size = 0; size < sizes_.size(); ++size) {
          if (others + sizes_[size] < least && stage(begin, end, size, behind) <= limit) {
            least = others + sizes_[size];
          }
        }
      }
    }
  }
  return result;
}

std::vector<std::vector<std::uint32_t>> ProfiledBound::devices_before(double limit) const {
  std::vector<std::vector<std::uint32_t>> result(task_.devices, std::vector<std::uint32_t>(count_ + 1, kNever));
  for (std::size_t behind = task_.devices; behind-- > 0;) {
    result[behind].front() = 0;
    if (behind + 1 == task_.devices) continue;
    for (std::size_t begin = 0; begin < count_; ++begin) {
      const std::uint32_t others = result[behind + 1][begin];
      if (others >= task_.devices) continue;
      for (std::size_t end = begin + 1; end <= count_; ++end) {
        std::uint32_t& least = result[behind][end];
        for (std::size_t size = 0; size < sizes_.size(); ++size) {
          if (others + sizes_[size] < least && stage(begin, end, size, behind + 1) <= limit) {
            least = others + sizes_[size];
          }
        }
      }
    }
  }
  return result;
}

double ProfiledBound::longest() const {
  const auto is_possible = [&](double limit) {
    const auto devices = devices_from(limit);
    return std::ranges::any_of(devices, [&](const auto& from) { return from.front() <= task_.devices; });
  };
  double above = 1;
  while (!is_possible(above)) {
    above *= 2;
    if (above > 1e12) return kInfinity;
  }
  double below = above > 1 ? above / 2 : 0;
  while (above - below > 1e-7 * above) {
    const double middle = (below + above) / 2;
    (is_possible(middle) ? above : below) = middle;
  }
  return below;
}

double ProfiledBound::sum() const {
  // By stages behind the first, first operator, devices at most.
  std::vector<std::vector<std::vector<double>>> least(
      task_.devices, std::vector(count_ + 1, std::vector<double>(task_.devices + 1, kInfinity)));
  double result = kInfinity;
  for (std::size_t behind = 0; behind < task_.devices; ++behind) {
    for (std::size_t begin = 0; begin < count_; ++begin) {
      auto& here = least[behind][begin];
      for (std::size_t end = behind == 0 ? count_ : begin + 1; end <= count_; ++end) {
        for (std::size_t size = 0; size < sizes_.size(); ++size) {
          const double ms = stage(begin, end, size, behind);
          for (std::uint32_t devices = sizes_[size]; devices <= task_.devices; ++devices) {
            const double others = behind == 0 ? 0 : least[behind - 1][end][devices - sizes_[size]];
            here[devices] = std::min(here[devices], ms + others);
          }
        }
      }
    }
    result = std::min(result, least[behind].front().back());
  }
  return result;
}

}  // namespace opweave::strategy
