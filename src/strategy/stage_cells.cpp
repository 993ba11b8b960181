#include "strategy/stage_cells.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace opweave::strategy {
namespace {

/// Nodes of branch and bound where the relaxation and its rounded point disagree about a limit.
constexpr std::size_t kRefinedNodes = 20'000;
constexpr std::size_t kWord = 64;

bool has(const Tail& tail, std::uint32_t node) { return ((tail[node / kWord] >> (node % kWord)) & 1U) != 0; }
void put(Tail& tail, std::uint32_t node) { tail[node / kWord] |= std::uint64_t{1} << (node % kWord); }
Tail none(const LayerGraph& graph) { return Tail((graph.nodes.size() + kWord - 1) / kWord); }

std::vector<std::vector<std::uint32_t>> successors(const LayerGraph& graph) {
  std::vector<std::vector<std::uint32_t>> result(graph.nodes.size());
  for (const LayerGraph::Edge& edge : graph.edges) result[edge.source].push_back(edge.target);
  return result;
}

}  // namespace

std::optional<std::vector<Tail>> all_tails(const LayerGraph& graph, std::size_t most) {
  const auto after = successors(graph);
  std::vector<Tail> result = {none(graph)};
  // Breadth first: each round adds a node to the tails of the round before.
  for (std::size_t begin = 0; begin < result.size();) {
    const std::size_t end = result.size();
    std::set<Tail> larger;
    for (; begin < end; ++begin) {
      for (std::uint32_t node = 0; node < graph.nodes.size(); ++node) {
        const Tail& tail = result[begin];
        if (has(tail, node) || !std::ranges::all_of(after[node], [&](auto next) { return has(tail, next); })) continue;
        Tail with = tail;
        put(with, node);
        larger.insert(std::move(with));
      }
      if (result.size() + larger.size() > most) return std::nullopt;
    }
    result.insert(result.end(), larger.begin(), larger.end());
  }
  return result;
}

std::vector<Tail> tails_in_order(const LayerGraph& graph) {
  const auto after = successors(graph);
  std::vector<Tail> result = {none(graph)};
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Tail& tail = result.back();
    for (auto node = static_cast<std::uint32_t>(graph.nodes.size()); node-- > 0;) {
      if (has(tail, node) || !std::ranges::all_of(after[node], [&](auto next) { return has(tail, next); })) continue;
      Tail with = tail;
      put(with, node);
      result.push_back(std::move(with));
      break;
    }
  }
  return result;
}

std::vector<std::uint32_t> StageCells::members(const Tail& outer, const Tail& inner) const {
  std::vector<std::uint32_t> nodes;
  for (std::uint32_t node = 0; node < graph_.nodes.size(); ++node) {
    if (has(outer, node) && !has(inner, node)) nodes.push_back(node);
  }
  return nodes;
}

std::optional<StageCells::Parts> StageCells::parts(const std::vector<std::uint32_t>& nodes,
                                                   std::uint32_t tensor) const {
  constexpr auto kOutside = static_cast<std::size_t>(-1);
  std::vector<std::size_t> place(graph_.nodes.size(), kOutside);
  Parts result(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    place[nodes[i]] = i;
    const auto& by_tensor = graph_.nodes[nodes[i]].by_tensor;
    const auto found = by_tensor.find(tensor);
    if (found == by_tensor.end() || found->second.empty()) return std::nullopt;
    for (const LayerGraph::Alternative& a : found->second) {
      result[i].push_back({0, a.seconds, a.parameter_bytes, a.bytes_per_flight, a.bytes});
    }
  }
  for (std::uint32_t e = 0; e < graph_.edges.size(); ++e) {
    const LayerGraph::Edge& edge = graph_.edges[e];
    if ((place[edge.source] == kOutside) == (place[edge.target] == kOutside)) continue;
    const std::uint32_t node = place[edge.source] == kOutside ? edge.target : edge.source;
    const auto& alternatives = graph_.nodes[node].by_tensor.at(tensor);
    for (std::size_t a = 0; a < alternatives.size(); ++a) {
      const auto sync = alternatives[a].sync_bytes.find(e);
      // There in the forward pass, back in the backward pass.
      result[place[node]][a].cut_bytes +=
          2 * (edge.bytes + (sync == alternatives[a].sync_bytes.end() ? 0 : sync->second));
    }
  }
  return result;
}

double StageCells::seconds(const Part& part, std::uint32_t data) const {
  const double copies = data;
  const double reduced = 4 * (copies - 1) * part.parameter_bytes / (copies * task_.microbatches);
  const double bytes = part.cut_bytes / copies + reduced;
  return bytes / task_.bytes_per_second + part.seconds / copies;
}

Selection StageCells::select(const Parts& parts, std::uint32_t data, std::uint32_t in_flight,
                             std::size_t most_nodes) const {
  std::vector<Choices> items;
  for (const auto& node : parts) {
    Choices& choices = items.emplace_back();
    for (const Part& part : node) {
      choices.push_back({seconds(part, data), part.bytes_per_flight * in_flight + part.bytes});
    }
  }
  return select_choices(items, task_.memory_bytes, most_nodes);
}

std::optional<StageCell> StageCells::cell(const Parts& parts, std::uint32_t data) const {
  StageCell cell;
  cell.data = data;
  double per_flight = 0;
  double bytes = 0;
  for (const auto& node : parts) {
    const Part& fastest = *std::ranges::min_element(node, {}, [&](const Part& part) { return seconds(part, data); });
    cell.fastest += seconds(fastest, data);
    per_flight += fastest.bytes_per_flight;
    bytes += fastest.bytes;
  }
  const std::uint32_t limit = (task_.devices + data - 1) / data;
  const double room = task_.memory_bytes - bytes;
  if (room >= 0) cell.roomy = room >= per_flight * limit ? limit : static_cast<std::uint32_t>(room / per_flight);
  const auto fits = [&](std::uint32_t in_flight) {
    double leanest = 0;
    for (const auto& node : parts) {
      double least = std::numeric_limits<double>::infinity();
      for (const Part& part : node) least = std::min(least, part.bytes_per_flight * in_flight + part.bytes);
      leanest += least;
    }
    return leanest <= task_.memory_bytes;
  };
  cell.most = cell.roomy;
  for (std::uint32_t above = limit; cell.most < above;) {
    const std::uint32_t middle = cell.most + (above - cell.most + 1) / 2;
    if (fits(middle)) {
      cell.most = middle;
    } else {
      above = middle - 1;
    }
  }
  if (cell.most == 0) return std::nullopt;
  return cell;
}

void StageCells::add(const Tail& outer, const Tail& inner, std::uint32_t inner_number, double ceiling,
                     std::vector<StageCell>& cells) const {
  const std::vector<std::uint32_t> nodes = members(outer, inner);
  for (const auto& [tensor, alternatives] : graph_.nodes[nodes.front()].by_tensor) {
    if (tensor > task_.devices) break;
    const auto found = parts(nodes, tensor);
    if (!found) continue;
    for (std::uint32_t data = 1; std::uint64_t{data} * tensor <= task_.devices; ++data) {
      if (task_.microbatches % data != 0) continue;
      auto made = cell(*found, data);
      if (!made || made->fastest > ceiling) continue;
      made->inner = inner_number;
      made->tensor = tensor;
      cells.push_back(std::move(*made));
    }
  }
}

std::uint32_t StageCells::most_in_flight(const Tail& outer, const Tail& inner, StageCell& cell, double limit,
                                         Trust trust) const {
  if (cell.fastest > limit) return 0;
  if (cell.roomy == cell.most) return cell.roomy;
  if (cell.tight.empty()) cell.tight.resize(cell.most - cell.roomy);
  std::optional<Parts> found;
  const auto select_for = [&](std::uint32_t in_flight, std::size_t most_nodes) {
    if (!found) found = parts(members(outer, inner), cell.tensor);
    return select(*found, cell.data, in_flight, most_nodes);
  };
  const auto takes_no_longer = [&](std::uint32_t in_flight) {
    StageCell::Range& range = cell.tight[in_flight - cell.roomy - 1];
    const auto store = [&](const Selection& selection) { range = {selection.least, selection.time}; };
    if (range.least < 0) store(select_for(in_flight, 1));
    if (trust == Trust::kRefined && range.least <= limit && range.found > limit) {
      store(select_for(in_flight, kRefinedNodes));
    }
    return (trust == Trust::kLeast ? range.least : range.found) <= limit;
  };
  // The more are in flight the less room there is, so the least time only grows.
  std::uint32_t below = cell.roomy;
  for (std::uint32_t above = cell.most; below < above;) {
    const std::uint32_t middle = below + (above - below + 1) / 2;
    if (takes_no_longer(middle)) {
      below = middle;
    } else {
      above = middle - 1;
    }
  }
  return below;
}

CutStage StageCells::stage(const Tail& outer, const Tail& inner, const StageCell& cell, std::uint32_t in_flight) const {
  CutStage result;
  result.nodes = members(outer, inner);
  result.tensor = cell.tensor;
  result.data = cell.data;
  result.alternatives = select(*parts(result.nodes, cell.tensor), cell.data, in_flight, kRefinedNodes).chosen;
  return result;
}

}  // namespace opweave::strategy
