#include "layouts/earliest_selection.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace opweave {
namespace {

class EarliestSelection {
 public:
  EarliestSelection(MovementCosts& costs, double weight_of_work)
      : costs_(costs),
        graph_(costs.problem().graph().graph),
        weight_(weight_of_work / static_cast<double>(costs.problem().cluster().device_count())),
        chosen_(costs.problem().choices().size()),
        ends_(graph_.operators().size(), 0),
        movements_(stream(costs.problem().graph().movement_stream)) {}

  LayoutSelection select() {
    for (const OperatorId op : graph_.topological_order()) run(op);
    LayoutSelection selection;
    for (const auto& one : chosen_) selection.push_back(one.value_or(0));
    return selection;
  }

 private:
  std::vector<std::int64_t>& stream(std::string_view name) {
    return free_.try_emplace(name, costs_.problem().cluster().device_count(), 0).first->second;
  }

  void run(OperatorId op) {
    streams_.clear();
    for (const std::string& name : graph_.at(op).streams) streams_.push_back(&stream(name));
    std::optional<std::uint32_t>& chosen = chosen_[costs_.problem().choice_of(op)];
    if (!chosen) {
      double least = 0;
      for (std::uint32_t a = 0; a < costs_.alternatives(op); ++a) {
        const auto end = try_in(op, a, false);
        if (!end) continue;
        const double work = weight_ * static_cast<double>(costs_.option(op, a).duration.value()) *
                            static_cast<double>(costs_.option(op, a).devices.size());
        const double value = static_cast<double>(*end) + work;
        if (chosen && value >= least) continue;
        least = value;
        chosen = a;
      }
      if (!chosen) chosen = 0;  // no movement makes what it reads: others tell
    }
    ends_[op.index()] = try_in(op, *chosen, true).value_or(0);
  }

  /// When the operator ends in an alternative; nothing where what it reads cannot come.
  std::optional<std::int64_t> try_in(OperatorId op, std::uint32_t alternative, bool keeps) {
    std::int64_t start = 0;
    for (const std::uint32_t number : costs_.into(op)) {
      const ReaderEdge& edge = costs_.edges()[number];
      const std::uint32_t of_maker = chosen_[costs_.problem().choice_of(edge.maker)].value_or(alternative);
      const OptionWay way = costs_.way(edge, of_maker, alternative);
      if (!way.exists()) return std::nullopt;
      std::int64_t there = ends_[edge.maker.index()];
      for (const MovementStep& step : way.steps()) {
        there = hold(movements_, costs_.gangs().at(step.devices), there, way.duration(step), keeps);
      }
      start = std::max(start, there + way.arrival_time());
    }
    for (const OperatorId earlier : graph_.at(op).after) start = std::max(start, ends_[earlier.index()]);
    const LayoutOption& option = costs_.option(op, alternative);
    std::int64_t end = start;
    for (std::vector<std::int64_t>* stream : streams_) {
      end = std::max(end, hold(*stream, option.devices, start, option.duration.value(), keeps));
    }
    return end;
  }

  /// The end of what holds a stream of devices from a moment on, or later where one of them is not free.
  static std::int64_t hold(std::vector<std::int64_t>& free, const std::vector<DeviceId>& devices, std::int64_t from,
                           std::int64_t lasts, bool keeps) {
    for (const DeviceId device : devices) from = std::max(from, free[device.index()]);
    if (keeps) {
      for (const DeviceId device : devices) free[device.index()] = from + lasts;
    }
    return from + lasts;
  }

  MovementCosts& costs_;
  const ComputationGraph& graph_;
  const double weight_;
  std::vector<std::optional<std::uint32_t>> chosen_;            ///< by choice
  std::vector<std::int64_t> ends_;                              ///< by operator
  std::map<std::string_view, std::vector<std::int64_t>> free_;  ///< by stream and device
  std::vector<std::int64_t>& movements_;                        ///< of free_: the stream of movements
  std::vector<std::vector<std::int64_t>*> streams_;             ///< of free_: those of the operator at hand
};

}  // namespace

LayoutSelection earliest_selection(MovementCosts& costs, double weight_of_work) {
  return EarliestSelection(costs, weight_of_work).select();
}

}  // namespace opweave
