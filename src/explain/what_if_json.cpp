#include <nlohmann/json.hpp>

#include "opweave/what_if.h"

namespace opweave {

std::string what_if_to_json(const WhatIfAnswer& answer) {
  using Json = nlohmann::ordered_json;
  const auto value = [](std::optional<Duration> time) { return time ? Json(time->value()) : Json(); };
  auto changes = Json::array();
  for (const WhatIfChange& change : answer.changes) {
    changes.push_back({{"change", change.what},
                       {"same_order_ns", value(change.same_order)},
                       {"replanned_ns", value(change.replanned)},
                       {"lower_bound_ns", change.bound.value()},
                       {"microbatches", change.microbatches},
                       {"remark", change.remark}});
  }
  auto samples = Json::array();
  for (const Robustness& one : answer.robustness) {
    samples.push_back({{"spread", one.spread},
                       {"samples", one.samples},
                       {"median_ns", one.median.value()},
                       {"percentile95_ns", one.percentile95.value()},
                       {"worst_ns", one.worst.value()}});
  }
  return Json{{"makespan_ns", answer.makespan.value()},
              {"lower_bound_ns", answer.bound.value()},
              {"microbatches", answer.microbatches},
              {"changes", changes},
              {"robustness", samples}}
             .dump(2) +
         "\n";
}

}  // namespace opweave
