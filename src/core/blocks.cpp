#include "opweave/blocks.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>

#include "opweave/error.h"

namespace opweave {
namespace {

constexpr Blocks kAllBlocks[] = {Blocks::kNone, Blocks::kStage, Blocks::kLayer};

bool is_backward(Phase phase) {
  return phase == Phase::kInputGradient || phase == Phase::kWeightGradient || phase == Phase::kBackward;
}

/// The stage or layer of an operator; nothing without one.
std::optional<std::string> label_of(const Operator& op, Blocks blocks) {
  if (blocks == Blocks::kStage) return op.stage ? std::optional(fmt::format("{}", op.stage->index())) : std::nullopt;
  return op.layer.empty() ? std::nullopt : std::optional(op.layer);
}

}  // namespace

std::string_view to_string(Blocks blocks) {
  switch (blocks) {
    case Blocks::kNone:
      return "none";
    case Blocks::kStage:
      return "stage";
    case Blocks::kLayer:
      return "layer";
  }
  throw InternalError("unknown blocks");
}

std::optional<Blocks> blocks_from_string(std::string_view text) {
  for (const Blocks blocks : kAllBlocks) {
    if (text == to_string(blocks)) return blocks;
  }
  return std::nullopt;
}

std::string Piece::name(const ComputationGraph& graph, Blocks blocks) const {
  if (block.empty()) return graph.at(operators.front()).name;
  const std::string_view letter = to_string(phase);
  return fmt::format("{} {}{}{}", to_string(blocks), block, letter.empty() ? "" : ".", letter);
}

std::vector<Piece> pieces_of(const ComputationGraph& graph, Blocks blocks) {
  std::set<std::string> fused;    // blocks whose backward is one piece
  std::set<std::string> forward;  // blocks with a forward, to which operators without a phase belong
  for (const Operator& op : graph.operators()) {
    const auto label = label_of(op, blocks);
    if (label && op.phase == Phase::kBackward) fused.insert(*label);
    if (label && op.phase == Phase::kForward) forward.insert(*label);
  }
  std::vector<Piece> pieces;
  std::map<std::pair<std::string, Phase>, std::size_t> known;
  for (const OperatorId id : graph.topological_order()) {
    const Operator& op = graph.at(id);
    const auto label = label_of(op, blocks);
    if (!label) {
      if (op.phase != Phase::kOptimizer) {
        throw InputError(fmt::format("operator \"{0}\" has no {1}, but blocks are made of the operators of one {1}",
                                     op.name, to_string(blocks)));
      }
      pieces.push_back({"", op.phase, {id}});
      continue;
    }
    Phase phase = op.phase;
    if (is_backward(phase) && fused.contains(*label)) phase = Phase::kBackward;
    if (phase == Phase::kNone && forward.contains(*label)) phase = Phase::kForward;
    const auto [entry, is_new] = known.try_emplace({*label, phase}, pieces.size());
    if (is_new) pieces.push_back({*label, phase, {}});
    pieces[entry->second].operators.push_back(id);
  }
  return pieces;
}

}  // namespace opweave
