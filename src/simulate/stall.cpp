#include "simulate/stall.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "opweave/error.h"

namespace opweave::simulation {
namespace {

/// One reason of one piece.
struct Wait {
  std::optional<std::uint32_t> piece;  ///< that must end or start first; nothing = it will never be
  std::string text;
};

std::string name(const Stall& stall, TaskId task) { return fmt::format("\"{}\"", stall.problem.task_name(task)); }
std::string name(const Stall& stall, DeviceId device) {
  return fmt::format("\"{}\"", stall.problem.cluster().at(device).name);
}

std::optional<Wait> wait_for_input(const Stall& stall, std::uint32_t piece, TaskId task) {
  const Problem& problem = stall.problem;
  for (const ValueId value : problem.inputs(task)) {
    const std::optional<TaskId> producer = problem.producer(value);
    if (!producer) continue;
    const std::uint32_t other = stall.pieces.piece_of[producer->index()];
    const auto made_on = stall.pieces.devices[producer->index()];
    for (const DeviceId device : stall.pieces.devices[task.index()]) {
      const bool local = std::binary_search(made_on.begin(), made_on.end(), device);
      if (stall.ended[other] ? local : (local && other == piece)) continue;
      const std::string tensor = problem.graph().at(problem.tensor_of(value)).name;
      if (!stall.ended[other]) {
        return Wait{other, fmt::format("{} waits for \"{}\" of {}", name(stall, task), tensor, name(stall, *producer))};
      }
      const bool has_route = std::any_of(made_on.begin(), made_on.end(), [&](DeviceId source) {
        return problem.transfer_time(value, source, device).has_value();
      });
      if (has_route && stall.waits_for_turn(value, device)) {
        return Wait{std::nullopt, fmt::format("{} waits for \"{}\" of {}, whose message has not had its turn",
                                              name(stall, task), tensor, name(stall, *producer))};
      }
      if (has_route) continue;  // it arrived
      return Wait{std::nullopt,
                  fmt::format("{} waits for \"{}\" of {}, but no route joins {} to {}", name(stall, task), tensor,
                              name(stall, *producer), name(stall, made_on.front()), name(stall, device))};
    }
  }
  return std::nullopt;
}

std::optional<Wait> wait_for_control(const Stall& stall, std::uint32_t piece, TaskId task) {
  for (const TaskId before : stall.problem.control_predecessors(task)) {
    const std::uint32_t other = stall.pieces.piece_of[before.index()];
    if (other == piece || stall.ended[other]) continue;
    return Wait{other, fmt::format("{} waits for the end of {}", name(stall, task), name(stall, before))};
  }
  return std::nullopt;
}

std::optional<Wait> wait_for_turn(const Stall& stall, std::uint32_t piece) {
  const std::vector<std::string>& streams = stall.problem.cluster().stream_names();
  for (const std::uint32_t queue : stall.pieces.slots_of(piece)) {
    const std::uint32_t first = stall.pieces.queue_pieces[stall.next_index[queue]];
    if (first == piece) continue;
    return Wait{first, fmt::format("{} comes after {} on stream \"{}\" of {}",
                                   name(stall, stall.pieces.members_of(piece).front().task),
                                   name(stall, stall.pieces.members_of(first).front().task),
                                   streams[queue % streams.size()], name(stall, DeviceId(queue / streams.size())))};
  }
  return std::nullopt;
}

Wait reason(const Stall& stall, std::uint32_t piece) {
  for (const Member& member : stall.pieces.members_of(piece)) {
    if (auto wait = wait_for_input(stall, piece, member.task)) return *wait;
    if (auto wait = wait_for_control(stall, piece, member.task)) return *wait;
  }
  if (auto wait = wait_for_turn(stall, piece)) return *wait;
  throw InternalError("a simulation stopped although nothing was missing");
}

}  // namespace

std::string explain(const Stall& stall) {
  constexpr std::uint32_t kUnseen = static_cast<std::uint32_t>(-1);
  std::vector<std::uint32_t> seen(stall.pieces.pieces.size(), kUnseen);
  std::vector<std::string> steps;
  std::optional<std::uint32_t> piece =
      static_cast<std::uint32_t>(std::find(stall.ended.begin(), stall.ended.end(), false) - stall.ended.begin());
  std::size_t cycle_start = 0;
  while (true) {
    seen[*piece] = static_cast<std::uint32_t>(steps.size());
    const Wait wait = reason(stall, *piece);
    steps.push_back(wait.text);
    piece = wait.piece;
    if (!piece) {
      cycle_start = steps.size() - 1;
      break;
    }
    if (seen[*piece] != kUnseen) {
      cycle_start = seen[*piece];
      break;
    }
  }
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t i = cycle_start; i < steps.size(); ++i) {
    if (i - cycle_start == kShown && steps.size() - i > 1) {
      return text + fmt::format("; ... ({} more)", steps.size() - i);
    }
    if (!text.empty()) text += "; ";
    text += steps[i];
  }
  return text;
}

}  // namespace opweave::simulation
