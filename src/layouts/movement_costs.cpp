#include "layouts/movement_costs.h"

#include <algorithm>

#include "layouts/parameter_movements.h"
#include "opweave/error.h"

namespace opweave {

MovementCosts::MovementCosts(const LayoutProblem& problem) : problem_(problem), ways_(problem) {
  const ComputationGraph& graph = problem.graph().graph;
  const std::size_t count = graph.operators().size();
  into_.resize(count);
  out_of_.resize(count);
  options_.resize(count);
  for (const LayoutChoice& choice : problem.choices()) {
    for (std::size_t i = 0; i < choice.operators.size(); ++i) {
      const std::size_t op = choice.operators[i].index();
      for (const LayoutAlternative& alternative : choice.alternatives) {
        options_[op].push_back(&problem.graph().options[op][alternative.option_index[i]]);
      }
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<TensorId>& inputs = graph.at(OperatorId(i)).inputs;
    for (std::uint32_t k = 0; k < inputs.size(); ++k) {
      const auto& maker = graph.at(inputs[k]).producer;
      if (!maker) continue;
      const std::vector<TensorId>& made = graph.at(*maker).outputs;
      const auto output = static_cast<std::uint32_t>(std::ranges::find(made, inputs[k]) - made.begin());
      into_[i].push_back(static_cast<std::uint32_t>(edges_.size()));
      out_of_[maker->index()].push_back(static_cast<std::uint32_t>(edges_.size()));
      edges_.push_back({*maker, OperatorId(i), inputs[k], output, k});
    }
  }
  find_parameter_costs();
}

/// Those of one alternative of every choice at a time.
void MovementCosts::find_parameter_costs() {
  const ComputationGraph& graph = problem_.graph().graph;
  parameters_.resize(graph.parameters().size());
  std::size_t most = 0;
  for (const LayoutChoice& choice : problem_.choices()) most = std::max(most, choice.alternatives.size());
  for (std::size_t i = 0; i < graph.operators().size(); ++i) {
    for (const ParameterId parameter : graph.operators()[i].parameters) {
      parameters_[parameter.index()].resize(alternatives(OperatorId(i)));
    }
  }
  if (parameters_.empty()) return;
  for (std::uint32_t a = 0; a < most; ++a) {
    LayoutSelection selection;
    for (const LayoutChoice& choice : problem_.choices()) {
      selection.push_back(std::min(a, static_cast<std::uint32_t>(choice.alternatives.size() - 1)));
    }
    std::vector<ParameterMovement> movements;
    try {
      movements = parameter_movements(problem_, selection);
    } catch (const InputError&) {
      continue;  // no route for one of them: nothing is known of the others, and nothing costs least
    }
    for (const ParameterMovement& movement : movements) {
      const MovementKey& key = movement.movement.key;
      std::vector<ParameterCost>& costs = parameters_[key.parameter.index()];
      if (a >= costs.size()) continue;
      const std::int64_t lasts = movement.duration.value();
      if (key.moved == Moved::kForwardWeights) costs[a].forward = lasts;
      if (key.moved == Moved::kBackwardWeights) costs[a].backward = lasts;
      if (key.moved == Moved::kUpdate) costs[a].update = lasts;
      if (key.moved == Moved::kGradient) (key.op ? costs[a].reduce_each : costs[a].reduce_once) = lasts;
    }
  }
}

OptionWay MovementCosts::way(const ReaderEdge& edge, std::uint32_t of_maker, std::uint32_t of_reader) {
  const TensorLayout& made = option(edge.maker, of_maker).outputs[edge.output];
  const TensorLayout& wanted = option(edge.reader, of_reader).inputs[edge.input];
  return {ways_.between(ways_.normal(gang_of(edge.maker, of_maker), made),
                        ways_.normal(gang_of(edge.reader, of_reader), wanted)),
          problem_.graph().graph.at(edge.tensor).size};
}

std::int64_t OptionWay::time() const {
  std::int64_t time = arrival_time();
  for (const MovementStep& step : steps()) time += duration(step);
  return time;
}

}  // namespace opweave
