// How stages lie on devices, and the layers of a specification as they are cut.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "opweave/cut.h"
#include "opweave/error.h"

namespace opweave {
namespace {

constexpr double kMostWork = 1e18;  // ns, as of a whole Problem

LayerTimes times_on(const std::string& type, const Layer& layer) {
  LayerTimes sum;
  for (const LayerOperator& op : layer.operators) {
    const auto here = [&](const std::optional<LayerTime>& time) {
      if (!time) return Duration();
      if (const std::optional<Duration> known = time->on(type)) return *known;
      throw InputError(fmt::format("operator \"{}\" of layer \"{}\" has no time for devices {}", op.name, layer.name,
                                   type.empty() ? "without a type" : fmt::format("of type \"{}\"", type)));
    };
    sum += {here(op.forward), here(op.input_gradient), here(op.weight_gradient)};
  }
  return sum;
}

}  // namespace

std::optional<Duration> LayerTime::on(std::string_view type) const {
  std::optional<Duration> everywhere;
  for (const MeasuredDuration& measured : durations) {
    if (measured.device_type == type) return measured.duration;
    if (measured.device_type.empty()) everywhere = measured.duration;
  }
  return everywhere;
}

std::uint32_t StageRounds::device_of(std::uint32_t stage, bool opposite) const {
  const std::uint32_t place = stage % devices;
  return downwards[stage / devices] != opposite ? devices - 1 - place : place;
}

StageRounds rounds_of(PipelineShape shape, std::uint32_t stages, std::uint32_t devices, const Training& training) {
  StageRounds rounds;
  rounds.devices = devices;
  switch (shape) {
    case PipelineShape::kLinear:
      break;
    case PipelineShape::kV:
      rounds.downwards = {false, true};
      break;
    case PipelineShape::kLoop:
      rounds.downwards.assign(stages / devices, false);
      break;
    case PipelineShape::kTwoWay: {
      rounds.runs = 0;
      for (std::uint32_t microbatch = 0; microbatch < training.microbatches; ++microbatch) {
        ++(training.replica_of(microbatch) == 0 ? rounds.runs : rounds.opposite_runs);
      }
      const std::int64_t common = std::max<std::int64_t>(1, std::gcd(rounds.runs, rounds.opposite_runs));
      rounds.runs /= common;
      rounds.opposite_runs /= common;
      break;
    }
    case PipelineShape::kFree:
      throw InternalError("a free pipeline has no rounds of stages");
  }
  return rounds;
}

LayerRow layer_row(const PipelineSpec& spec, const std::vector<std::string>& types,
                   const std::function<Duration(Bytes)>& hop) {
  LayerRow row;
  for (const std::string& type : types) {
    std::vector<LayerTimes>& times = row.times.emplace_back();
    double total = 0;
    for (const Layer& layer : spec.layers) {
      times.push_back(times_on(type, layer));
      total += static_cast<double>(times.back().total().value()) * spec.training.microbatches;
    }
    if (total > kMostWork) {
      throw InputError(fmt::format("the layers take {:.3g} ns for {} microbatches, expected at most {:.0g}", total,
                                   spec.training.microbatches, kMostWork));
    }
  }
  for (const Layer& layer : spec.layers) row.hops.push_back(hop(layer.output));
  return row;
}

}  // namespace opweave
