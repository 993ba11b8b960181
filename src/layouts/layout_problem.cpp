#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <unordered_map>

#include "core/union_find.h"
#include "layouts/derive.h"
#include "opweave/error.h"
#include "opweave/layouts.h"

namespace opweave {
namespace {

std::string describe(std::string_view option, const std::vector<DeviceId>& devices, const Cluster& cluster) {
  std::string names;
  for (const DeviceId device : devices) names += (names.empty() ? "" : ", ") + cluster.at(device).name;
  return fmt::format("\"{}\" on {}", option, names);
}

/// What all operators have, in the order of the first of them.
std::vector<LayoutAlternative> common_alternatives(const LayoutGraph& graph, const std::vector<OperatorId>& operators) {
  const std::vector<LayoutOption>& of_first = graph.options[operators.front().index()];
  std::vector<LayoutAlternative> result;
  result.reserve(of_first.size());
  for (std::uint32_t i = 0; i < of_first.size(); ++i) result.push_back({of_first[i].name, {i}, 0});
  for (const OperatorId op : std::span(operators).subspan(1)) {
    std::map<std::pair<std::string_view, std::vector<DeviceId>>, std::uint32_t> own;
    const std::vector<LayoutOption>& options = graph.options[op.index()];
    for (std::uint32_t i = 0; i < options.size(); ++i) {
      own.emplace(std::pair(std::string_view(options[i].name), options[i].devices), i);
    }
    std::erase_if(result, [&](LayoutAlternative& alternative) {
      const auto found = own.find({alternative.option, of_first[alternative.option_index.front()].devices});
      if (found == own.end()) return true;
      alternative.option_index.push_back(found->second);
      return false;
    });
  }
  return result;
}

}  // namespace

void LayoutProblem::join_choices(Data& data) const {
  const ComputationGraph& graph = data.graph.graph;
  const std::size_t count = graph.operators().size();
  UnionFind joined(count);
  std::map<std::pair<bool, std::string_view>, std::size_t> first_of_text;  // of a choice, or a colocation
  data.readers_of.resize(graph.parameters().size());
  for (std::size_t i = 0; i < count; ++i) {
    const Operator& op = graph.operators()[i];
    const auto join_by = [&](bool is_choice, const std::string& text) {
      if (!text.empty()) joined.join(first_of_text.try_emplace({is_choice, text}, i).first->second, i);
    };
    join_by(true, data.graph.choices[i]);
    join_by(false, op.colocation);
    for (const ParameterId parameter : op.parameters) {
      std::vector<OperatorId>& readers = data.readers_of[parameter.index()];
      if (!readers.empty()) joined.join(readers.front().index(), i);
      readers.emplace_back(i);
    }
  }
  std::vector<std::uint32_t> number(count, UINT32_MAX);  // by member that speaks for its set
  data.choice_of.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t& own = number[joined.find(i)];
    if (own == UINT32_MAX) {
      own = static_cast<std::uint32_t>(data.choices.size());
      data.choices.emplace_back();
    }
    data.choices[own].operators.emplace_back(i);
    data.choice_of[i] = own;
  }
}

void LayoutProblem::number_gangs(Data& data) const {
  const auto hash = [](const std::vector<DeviceId>& devices) {
    std::size_t sum = 0;
    for (const DeviceId device : devices) sum = sum * 31 + device.index();
    return sum;
  };
  std::unordered_map<std::vector<DeviceId>, std::uint32_t, decltype(hash)> number(0, hash);
  for (LayoutChoice& choice : data.choices) {
    const std::vector<LayoutOption>& options = data.graph.options[choice.operators.front().index()];
    for (LayoutAlternative& alternative : choice.alternatives) {
      const std::vector<DeviceId>& devices = options[alternative.option_index.front()].devices;
      const auto [entry, is_new] = number.try_emplace(devices, static_cast<std::uint32_t>(data.gangs.size()));
      if (is_new) data.gangs.push_back(devices);
      alternative.gang = entry->second;
    }
  }
}

LayoutProblem LayoutProblem::create(LayoutGraph graph, Cluster cluster, ProblemSettings settings) {
  require_layout_settings(settings);
  auto data = std::make_shared<Data>();
  data->graph = std::move(graph);
  data->cluster = std::move(cluster);
  data->settings = std::move(settings);
  data->chooses_modes = may_choose_modes(data->graph, data->settings);
  LayoutProblem result;
  result.join_choices(*data);
  const ComputationGraph& operators = data->graph.graph;
  for (LayoutChoice& choice : data->choices) {
    choice.alternatives = common_alternatives(data->graph, choice.operators);
    if (!choice.alternatives.empty()) continue;
    throw InputError(fmt::format(
        "operators \"{}\" and \"{}\" choose together (one choice, colocation or parameter), but have no option of one "
        "name on the same devices in common{}",
        operators.at(choice.operators.front()).name, operators.at(choice.operators.back()).name,
        choice.operators.size() > 2 ? fmt::format(" ({} operators)", choice.operators.size()) : ""));
  }
  result.number_gangs(*data);
  for (std::size_t p = 0; p < data->readers_of.size(); ++p) {
    if (data->readers_of[p].empty()) continue;
    const LayoutChoice& choice = data->choices[data->choice_of[data->readers_of[p].front().index()]];
    for (const LayoutAlternative& alternative : choice.alternatives) {
      std::optional<ParameterParts> stated;
      for (std::size_t i = 0; i < choice.operators.size(); ++i) {
        const std::vector<ParameterId>& read = operators.at(choice.operators[i]).parameters;
        const auto found = std::ranges::find(read, ParameterId(p));
        if (found == read.end()) continue;
        const LayoutOption& option = data->graph.options[choice.operators[i].index()][alternative.option_index[i]];
        const auto& own = option.parameters[static_cast<std::size_t>(found - read.begin())];
        if (own && stated && *own != *stated) {
          throw InputError(fmt::format("parameter \"{}\" has different parts in options {} of its operators",
                                       operators.at(ParameterId(p)).name,
                                       describe(option.name, option.devices, data->cluster)));
        }
        if (own) stated = own;
      }
    }
  }
  (void)with_release_stream(data->cluster);  // says here why there can be none
  for (const Device& device : data->cluster.devices()) {
    if (std::ranges::find(device.streams, data->graph.movement_stream) != device.streams.end()) continue;
    throw InputError(fmt::format("device \"{}\" has no stream \"{}\", which movements between layouts hold",
                                 device.name, data->graph.movement_stream));
  }
  result.data_ = std::move(data);
  return result;
}

const LayoutOption& LayoutProblem::option(OperatorId op, const LayoutSelection& selection) const {
  const std::vector<OperatorId>& operators = choices()[choice_of(op)].operators;
  const auto position = std::ranges::lower_bound(operators, op) - operators.begin();
  return graph().options[op.index()][alternative(op, selection).option_index[static_cast<std::size_t>(position)]];
}

ParameterParts LayoutProblem::parts(ParameterId parameter, const LayoutSelection& selection) const {
  for (const OperatorId reader : data_->readers_of[parameter.index()]) {
    const std::vector<ParameterId>& read = graph().graph.at(reader).parameters;
    const auto at = std::ranges::find(read, parameter) - read.begin();
    if (const auto& stated = option(reader, selection).parameters[static_cast<std::size_t>(at)]) return *stated;
  }
  return {};
}

LayoutSelection LayoutProblem::selection_of(const LayoutPlan& plan) const {
  constexpr std::uint32_t kNone = UINT32_MAX;
  LayoutSelection selection(choices().size(), kNone);
  for (const PlannedTask& task : plan.plan.tasks) {
    const std::uint32_t number = choice_of(task.op);
    const std::string& name = plan.options[task.op.index()];
    const std::vector<LayoutAlternative>& alternatives = choices()[number].alternatives;
    const auto found = std::ranges::find_if(alternatives, [&](const LayoutAlternative& one) {
      return one.option == name && gangs()[one.gang] == task.devices;
    });
    const auto index = static_cast<std::uint32_t>(found - alternatives.begin());
    if (found == alternatives.end() || (selection[number] != kNone && selection[number] != index)) {
      throw InputError(
          fmt::format("operator \"{}\" runs in option {}, which {}", graph().graph.at(task.op).name,
                      describe(name, task.devices, cluster()),
                      found == alternatives.end() ? "it does not have" : "operators that choose with it do not"));
    }
    selection[number] = index;
  }
  const auto missing = std::ranges::find(selection, kNone);
  if (missing != selection.end()) {
    const LayoutChoice& choice = choices()[static_cast<std::size_t>(missing - selection.begin())];
    throw InputError(fmt::format("plan lacks \"{}\"", graph().graph.at(choice.operators.front()).name));
  }
  return selection;
}

}  // namespace opweave
