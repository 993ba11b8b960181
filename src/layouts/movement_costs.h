/// What movements cost between options of operators, whatever all others choose (docs/layouts.md, "Bounds").
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "layouts/tensor_movements.h"
#include "opweave/layouts.h"

namespace opweave {

/// The way of a tensor from one option to another.
class OptionWay {
 public:
  OptionWay(const TensorWay& way, Bytes bytes) : way_(&way), bytes_(bytes) {}

  [[nodiscard]] bool exists() const { return way_->exists(); }
  [[nodiscard]] const std::vector<MovementStep>& steps() const { return way_->steps; }
  [[nodiscard]] std::int64_t duration(const MovementStep& step) const { return step.time.of(bytes_).value(); }
  /// Of the longest transfer behind the movements. \pre exists()
  [[nodiscard]] std::int64_t arrival_time() const { return way_->arrival_time(bytes_); }
  /// Of all movements and the longest transfer behind them. \pre exists()
  [[nodiscard]] std::int64_t time() const;

 private:
  const TensorWay* way_;
  Bytes bytes_;
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
  /// Good as long as this lives.
  [[nodiscard]] OptionWay way(const ReaderEdge& edge, std::uint32_t of_maker, std::uint32_t of_reader);
  /// Number of the devices of an option.
  [[nodiscard]] std::uint32_t gang_of(OperatorId op, std::uint32_t alternative) const {
    return problem_.choices()[problem_.choice_of(op)].alternatives[alternative].gang;
  }
  /// \pre some operator reads the parameter
  [[nodiscard]] const ParameterCost& cost(ParameterId parameter, std::uint32_t alternative) const {
    return parameters_[parameter.index()][alternative];
  }
  [[nodiscard]] const Gangs& gangs() const { return ways_.gangs(); }

 private:
  void find_parameter_costs();

  const LayoutProblem& problem_;
  std::vector<ReaderEdge> edges_;
  std::vector<std::vector<std::uint32_t>> into_;
  std::vector<std::vector<std::uint32_t>> out_of_;
  std::vector<std::vector<const LayoutOption*>> options_;  // by operator and alternative
  std::vector<std::vector<ParameterCost>> parameters_;     // by parameter and alternative of its readers
  TensorWays ways_;
};

}  // namespace opweave
