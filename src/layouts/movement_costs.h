/// What movements cost between options of operators, whatever all others choose (docs/layouts.md, "Bounds").
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "layouts/tensor_movements.h"
#include "opweave/layouts.h"

namespace opweave {

/// The way of a tensor from one option to another.
struct TensorWay {
  struct Step {
    std::uint32_t devices = 0;  ///< number of the set on which the movement holds the stream of movements
    std::int64_t lasts = 0;
  };
  bool exists = true;
  std::int64_t time = 0;  ///< of all movements and the longest transfer behind them
  std::vector<Step> steps;
};

/// What the parts of a parameter cost in an alternative of the choice that reads it; ns.
struct ParameterCost {
  std::int64_t forward = 0;      ///< gather for the forward pass, of each microbatch
  std::int64_t backward = 0;     ///< for the backward pass, of each microbatch
  std::int64_t reduce_each = 0;  ///< reduction behind each operator that updates it
  std::int64_t reduce_once = 0;  ///< reduction before the optimizer
  std::int64_t update = 0;       ///< gather behind the optimizer
};

/// A tensor that one operator makes and another one reads.
struct ReaderEdge {
  OperatorId maker;
  OperatorId reader;
  TensorId tensor;
  std::uint32_t output = 0;  ///< position among the maker's outputs
  std::uint32_t input = 0;   ///< position among the reader's inputs
};

/// The costs, each worked out once. Numbers of alternatives are those of the operators' choices.
class MovementCosts {
 public:
  /// O(operators x options) and the costs of parameters
  explicit MovementCosts(const LayoutProblem& problem);

  [[nodiscard]] const LayoutProblem& problem() const { return problem_; }
  [[nodiscard]] const std::vector<ReaderEdge>& edges() const { return edges_; }
  /// Positions of edges, by operator that reads, and by operator that makes.
  [[nodiscard]] const std::vector<std::uint32_t>& into(OperatorId op) const { return into_[op.index()]; }
  [[nodiscard]] const std::vector<std::uint32_t>& out_of(OperatorId op) const { return out_of_[op.index()]; }
  [[nodiscard]] std::uint32_t alternatives(OperatorId op) const {
    return static_cast<std::uint32_t>(problem_.choices()[problem_.choice_of(op)].alternatives.size());
  }
  [[nodiscard]] const LayoutOption& option(OperatorId op, std::uint32_t alternative) const {
    return *options_[op.index()][alternative];
  }
  [[nodiscard]] const TensorWay& way(const ReaderEdge& edge, std::uint32_t of_maker, std::uint32_t of_reader);
  /// Number of the devices of an option.
  [[nodiscard]] std::uint32_t devices_of(OperatorId op, std::uint32_t alternative) const {
    return set_of_[op.index()][alternative];
  }
  /// \pre some operator reads the parameter
  [[nodiscard]] const ParameterCost& cost(ParameterId parameter, std::uint32_t alternative) const {
    return parameters_[parameter.index()][alternative];
  }
  /// Number of a set of devices, and the set.
  [[nodiscard]] std::uint32_t number_of(const std::vector<DeviceId>& devices);
  [[nodiscard]] const std::vector<std::vector<DeviceId>>& device_sets() const { return sets_; }

 private:
  void find_parameter_costs();
  [[nodiscard]] TensorWay find_way(const Tensor& tensor, const Holding& from, const Holding& to);

  const LayoutProblem& problem_;
  std::vector<ReaderEdge> edges_;
  std::vector<std::vector<std::uint32_t>> into_;
  std::vector<std::vector<std::uint32_t>> out_of_;
  std::vector<std::vector<const LayoutOption*>> options_;  // by operator and alternative
  std::vector<std::vector<std::uint32_t>> set_of_;         // by operator and alternative: number of its devices
  std::vector<std::vector<ParameterCost>> parameters_;     // by parameter and alternative of its readers
  std::vector<std::vector<DeviceId>> sets_;
  std::map<std::vector<DeviceId>, std::uint32_t> number_;
  std::map<std::tuple<std::int64_t, std::uint32_t, TensorLayout, std::uint32_t, TensorLayout>, TensorWay> ways_;
};

}  // namespace opweave
