// Actions as text, in the form of PyTorch's schedule files but without their leniency: PyTorch
// matches a prefix of a cell, so that "2F0junk" passes there; here a token is all or nothing.
#include "opweave/error.h"
#include "opweave/pipeline.h"
#include "training/take_number.h"

namespace opweave {

namespace {

using detail::take_number;

constexpr std::string_view kPairSuffix = ")OVERLAP_F_B";

char letter(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return 'F';
    case ActionKind::kInputGradient:
      return 'I';
    case ActionKind::kWeightGradient:
      return 'W';
    case ActionKind::kBackward:
      return 'B';
    case ActionKind::kPair:
      break;
  }
  throw InternalError("a pair has no letter of its own");
}

std::optional<ActionKind> kind_of(char text) {
  for (ActionKind kind :
       {ActionKind::kForward, ActionKind::kInputGradient, ActionKind::kWeightGradient, ActionKind::kBackward}) {
    if (letter(kind) == text) return kind;
  }
  return std::nullopt;
}

std::string simple_token(std::uint32_t stage, ActionKind kind, std::uint32_t microbatch) {
  return std::to_string(stage) + letter(kind) + std::to_string(microbatch);
}

std::optional<PipelineAction> simple_action(std::string_view text) {
  PipelineAction action;
  const auto stage = take_number(text);
  if (!stage || text.empty()) return std::nullopt;
  const auto kind = kind_of(text.front());
  text.remove_prefix(1);
  const auto microbatch = take_number(text);
  if (!kind || !microbatch || !text.empty()) return std::nullopt;
  action.kind = *kind;
  action.stage = *stage;
  action.microbatch = *microbatch;
  return action;
}

}  // namespace

std::string to_string(const PipelineAction& action) {
  if (action.kind != ActionKind::kPair) return simple_token(action.stage, action.kind, action.microbatch);
  return "(" + simple_token(action.stage, ActionKind::kForward, action.microbatch) + ";" +
         simple_token(action.backward_stage, ActionKind::kBackward, action.backward_microbatch) +
         std::string(kPairSuffix);
}

std::optional<PipelineAction> action_from_string(std::string_view text) {
  if (!text.starts_with('(')) return simple_action(text);
  if (!text.ends_with(kPairSuffix)) return std::nullopt;
  const std::string_view parts = text.substr(1, text.size() - 1 - kPairSuffix.size());
  const std::size_t middle = parts.find(';');
  if (middle == std::string_view::npos) return std::nullopt;
  auto forward = simple_action(parts.substr(0, middle));
  const auto backward = simple_action(parts.substr(middle + 1));
  if (!forward || forward->kind != ActionKind::kForward) return std::nullopt;
  if (!backward || backward->kind != ActionKind::kBackward) return std::nullopt;
  forward->kind = ActionKind::kPair;
  forward->backward_stage = backward->stage;
  forward->backward_microbatch = backward->microbatch;
  return forward;
}

}  // namespace opweave
