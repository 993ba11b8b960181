#include <gtest/gtest.h>

#include <functional>

#include "list_scheduling/list_schedule.h"
#include "memory_modes/mode_problems.h"
#include "opweave/check.h"

namespace opweave {
namespace {

using testing::ModeChain;
using testing::value_named;

constexpr auto kRecompute = MovementKind::kRecompute;
constexpr auto kOut = MovementKind::kCopyOut;
constexpr auto kIn = MovementKind::kCopyIn;

/// Two layers on two devices, three microbatches: a0 is dropped but in the second, where it is on the host.
Problem problem_of(std::optional<std::int64_t> host_memory = {}) {
  ModeChain chain;
  chain.layers = {{10, 20, 100, "d0"}, {10, 20, 100, "d1"}};
  chain.microbatches = 3;
  chain.host_memory = host_memory;
  return chain.problem();
}

Plan valid_plan(const Problem& problem) {
  MemoryChoice choice(problem.value_count(), MemoryMode::kKeep);
  for (std::uint32_t m = 0; m < 3; ++m) {
    choice[value_named(problem, "a0", m).index()] = m == 1 ? MemoryMode::kHost : MemoryMode::kDrop;
    choice[value_named(problem, "a1", m).index()] = m == 1 ? MemoryMode::kKeep : MemoryMode::kHost;
  }
  const auto derived = ProblemWithMovements::create(problem, choice);
  const auto schedule = list_schedule(derived.problem(), std::vector<ModeIndex>(derived.problem().task_count(), 0));
  return derived.plan(*schedule, {}, {});
}

PlannedMovement& movement(Plan& plan, MovementKind kind, std::size_t which = 0) {
  for (PlannedMovement& one : plan.movements) {
    if (one.kind == kind && which-- == 0) return one;
  }
  throw InternalError("no such movement");
}

void remove(Plan& plan, MovementKind kind) {
  const auto found = std::ranges::find(plan.movements, kind, &PlannedMovement::kind);
  plan.movements.erase(found);
}

void shift(PlannedMovement& one, std::int64_t start) {
  one.end = Duration(start) + (one.end - one.start);
  one.start = Duration(start);
}

struct Spoiler {
  Rule rule;
  const char* text;  ///< that a message of the rule contains
  std::function<void(Plan&)> spoil;
};

std::vector<Spoiler> spoilers() {
  return {
      {Rule::kModes, "may not have", [](Plan& p) { p.settings.memory_modes = {}; }},
      {Rule::kModes, "may not have",
       [](Plan& p) {
         p.settings.memory_modes = {true, false};
       }},
      {Rule::kModes, "two modes", [](Plan& p) { p.modes.push_back(p.modes.front()); }},
      {Rule::kModes, "does not exist", [](Plan& p) { p.modes.front().copy = 3; }},
      {Rule::kModes, "does not exist", [](Plan& p) { p.modes.front().tensor = TensorId(99); }},
      {Rule::kModes, "does not run again", [](Plan& p) { remove(p, kRecompute); }},
      {Rule::kModes, "runs again twice", [](Plan& p) { p.movements.push_back(movement(p, kRecompute)); }},
      {Rule::kModes, "runs again, but no value",
       [](Plan& p) {
         PlannedMovement more = movement(p, kRecompute);
         more.copy = 1;
         p.movements.push_back(more);
       }},
      {Rule::kModes, "runs again, but no value",
       [](Plan& p) { std::erase_if(p.modes, [](const PlannedMode& mode) { return mode.mode == MemoryMode::kDrop; }); }},
      {Rule::kModes, "its mode is not \"host\"",
       [](Plan& p) { std::erase_if(p.modes, [](const PlannedMode& mode) { return mode.mode == MemoryMode::kHost; }); }},
      {Rule::kModes, "not copied out", [](Plan& p) { remove(p, kOut); }},
      {Rule::kModes, "not copied in", [](Plan& p) { remove(p, kIn); }},
      {Rule::kModes, "copied twice", [](Plan& p) { p.movements.push_back(movement(p, kIn)); }},
      {Rule::kModes, "does not exist", [](Plan& p) { movement(p, kIn).devices = {DeviceId(7)}; }},
      {Rule::kModes, "does not exist", [](Plan& p) { movement(p, kRecompute).copy = 5; }},
      {Rule::kModes, "blocks", [](Plan& p) { p.settings.blocks = Blocks::kStage; }},
      {Rule::kRecompute, "but first ends", [](Plan& p) { shift(movement(p, kRecompute), 0); }},
      {Rule::kRecompute, "runs again on", [](Plan& p) { movement(p, kRecompute).devices = {DeviceId(1)}; }},
      {Rule::kRecompute, "the unit that makes its input", [](Plan& p) { shift(movement(p, kRecompute), 100000); }},
      {Rule::kOnce, "expected 10 ns", [](Plan& p) { movement(p, kRecompute).end += Duration(1); }},
      {Rule::kCopy, "makes it at", [](Plan& p) { shift(movement(p, kOut), 0); }},
      {Rule::kCopy, "it is out at", [](Plan& p) { shift(movement(p, kIn), 0); }},
      {Rule::kCopy, "lasts", [](Plan& p) { movement(p, kOut).end += Duration(1); }},
      {Rule::kCopy, "lasts", [](Plan& p) { movement(p, kIn).end -= Duration(1); }},
      {Rule::kCopy, "is on",
       [](Plan& p) {
         PlannedMovement& copy = movement(p, kOut);
         copy.devices = {DeviceId(1 - copy.devices.front().index())};
       }},
      {Rule::kPresence, "is made", [](Plan& p) { shift(movement(p, kIn), 100000); }},
      {Rule::kStream, "a copy of",
       [](Plan& p) {
         // Two copies of one device at one time.
         PlannedMovement& first = movement(p, kOut);
         for (PlannedMovement& other : p.movements) {
           if (other.kind != kOut || &other == &first || other.devices != first.devices) continue;
           shift(first, other.start.value());
         }
         for (std::size_t i = 1; i < 3; ++i) {
           if (movement(p, kOut, i).devices == first.devices) return;
         }
         shift(movement(p, kOut, 2), movement(p, kOut, 1).start.value());
       }},
      {Rule::kStream, "again",
       [](Plan& p) {
         const PlannedMovement& other = movement(p, kRecompute, 1);
         shift(movement(p, kRecompute), other.start.value());
       }},
      {Rule::kFigures, "recomputed_ns", [](Plan& p) { p.statistics.recomputed += Duration(1); }},
      {Rule::kFigures, "copied_out_bytes", [](Plan& p) { p.statistics.bytes_copied_out += Bytes(1); }},
      {Rule::kFigures, "host_peak_bytes", [](Plan& p) { p.statistics.devices[1].host_peak += Bytes(1); }},
      {Rule::kFigures, "peak_memory_bytes", [](Plan& p) { p.statistics.devices[0].peak_memory += Bytes(1); }},
  };
}

TEST(MemoryModeRules, a_valid_plan_is_accepted_and_every_corruption_named_by_its_rule) {
  const Problem problem = problem_of();
  const Plan valid = valid_plan(problem);
  const auto accepted = check(problem.graph(), problem.cluster(), valid);
  ASSERT_TRUE(accepted.empty()) << accepted.front().message;
  int kind = 0;
  for (const Spoiler& spoiler : spoilers()) {
    Plan plan = valid;
    spoiler.spoil(plan);
    const auto violations = check(problem.graph(), problem.cluster(), plan);
    const bool found = std::ranges::any_of(violations, [&](const Violation& violation) {
      return violation.rule == spoiler.rule && violation.message.find(spoiler.text) != std::string::npos;
    });
    std::string said;
    for (const Violation& violation : violations) said += violation.message + "; ";
    EXPECT_TRUE(found) << "kind " << kind << " (" << to_string(spoiler.rule) << ", " << spoiler.text << "): " << said;
    ++kind;
  }
}

TEST(MemoryModeRules, hosts_hold_no_more_than_they_may) {
  const Problem roomy = problem_of();
  const Plan plan = valid_plan(roomy);
  const Problem small = problem_of(99);
  const auto violations = check(small.graph(), small.cluster(), plan);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().rule, Rule::kHostMemory);
}

}  // namespace
}  // namespace opweave
