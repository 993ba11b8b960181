#include "layouts/selection_moves.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace opweave {
namespace {

/// Equal texts: equal layers.
std::string signature(const LayoutProblem& problem, const LayoutChoice& choice) {
  std::string text;
  for (const LayoutAlternative& alternative : choice.alternatives) {
    text.append(alternative.option) += '\n';
    for (std::size_t i = 0; i < choice.operators.size(); ++i) {
      const LayoutOption& option = problem.graph().options[choice.operators[i].index()][alternative.option_index[i]];
      text += std::to_string(option.duration.value()) + ' ';
    }
  }
  return text;
}

}  // namespace

SelectionMoves::SelectionMoves(const LayoutProblem& problem) : problem_(problem) {
  std::map<std::string, std::vector<std::uint32_t>> classes;
  const std::vector<LayoutChoice>& choices = problem.choices();
  for (std::uint32_t c = 0; c < choices.size(); ++c) {
    if (choices[c].alternatives.size() > 1) classes[signature(problem, choices[c])].push_back(c);
  }
  for (const auto& [text, members] : classes) {
    const auto first = static_cast<std::uint32_t>(members_.size());
    const auto count = static_cast<std::uint32_t>(members.size());
    members_.insert(members_.end(), members.begin(), members.end());
    if (count == 1) continue;
    std::set<std::string_view> options;
    const std::vector<LayoutAlternative>& alternatives = choices[members.front()].alternatives;
    for (std::uint32_t a = 0; a < alternatives.size(); ++a) {
      moves_.push_back({first, count, a, false});
      if (options.insert(alternatives[a].option).second) moves_.push_back({first, count, a, true});
    }
  }
  for (std::uint32_t m = 0; m < members_.size(); ++m) {
    const auto count = static_cast<std::uint32_t>(choices[members_[m]].alternatives.size());
    for (std::uint32_t a = 0; a < count; ++a) moves_.push_back({m, 1, a, false});
  }
}

LayoutSelection SelectionMoves::after(std::size_t number, LayoutSelection selection) const {
  const Move& move = moves_[number];
  const std::string_view option = problem_.choices()[members_[move.first]].alternatives[move.alternative].option;
  for (std::uint32_t m = move.first; m < move.first + move.count; ++m) {
    std::uint32_t& own = selection[members_[m]];
    if (!move.keeps_devices) {
      own = move.alternative;
      continue;
    }
    const std::vector<LayoutAlternative>& alternatives = problem_.choices()[members_[m]].alternatives;
    const auto found = std::ranges::find_if(alternatives, [&](const LayoutAlternative& alternative) {
      return alternative.option == option && alternative.gang == alternatives[own].gang;
    });
    if (found != alternatives.end()) own = static_cast<std::uint32_t>(found - alternatives.begin());
  }
  return selection;
}

}  // namespace opweave
