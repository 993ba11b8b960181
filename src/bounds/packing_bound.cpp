#include <fmt/format.h>

#include <algorithm>

#include "bounds/packing.h"

namespace opweave::bounds {
namespace {

constexpr std::int64_t kStepsPerQuestion = 300'000;  // steps of one question
constexpr std::size_t kMostClasses = 8;              // of a question that distinguishes all groups
constexpr std::size_t kThresholds = 12;
constexpr Nanoseconds kForever = 4'000'000'000'000'000'000;  // more than a Problem's work adds up to

/// One class that takes no more than any of those from `first` to `end`.
PackedClass least_of(const std::vector<PackedClass>& classes, std::size_t first, std::size_t end) {
  PackedClass result = classes[first];
  for (std::size_t i = first + 1; i < end; ++i) {
    const PackedClass& each = classes[i];
    result.count += each.count;
    result.bytes = std::min(result.bytes, each.bytes);
    result.need = std::min(result.need, each.need);
    result.head = std::min(result.head, each.head);
    result.tail = std::min(result.tail, each.tail);
    for (std::size_t k = 0; k < each.time.size(); ++k) result.time[k] = std::min(result.time[k], each.time[k]);
  }
  return result;
}

/// Easier problems with few classes: groups that take little are left out, and the others count as the least of their
/// neighbours in the order of `key`, in one class or in two.
template <class Key>
void add_with_few_classes(const PackingProblem& problem, Key key, std::vector<PackingProblem>& questions) {
  std::vector<PackedClass> sorted = problem.classes;
  std::ranges::stable_sort(sorted, {}, key);
  const std::size_t count = sorted.size();
  const auto ask = [&](const std::vector<std::size_t>& cuts) {
    PackingProblem& question = questions.emplace_back(PackingProblem{problem.kinds, {}});
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      question.classes.push_back(least_of(sorted, cuts[i], cuts[i + 1]));
  };
  std::size_t last = count;
  for (std::size_t i = 0; i < kThresholds; ++i) {
    const std::size_t first = i * count / kThresholds;
    if (first == last) continue;
    last = first;
    ask({first, count});
    if (first > 0) ask({0, first, count});
    if (const std::size_t middle = (first + count) / 2; middle > first && first > 0) ask({0, first, middle, count});
  }
}

Nanoseconds least_time(const PackedClass& each) { return *std::ranges::min_element(each.time); }

std::int64_t bytes_of(const PackedClass& each) { return each.bytes; }

/// The problem itself where that is within reach, and easier ones.
std::vector<PackingProblem> questions_of(const PackingProblem& problem) {
  std::vector<PackingProblem> questions;
  if (problem.classes.size() <= kMostClasses) questions.push_back(problem);
  add_with_few_classes(problem, least_time, questions);
  add_with_few_classes(problem, bytes_of, questions);
  return questions;
}

std::int64_t group_count(const PackingProblem& problem) {
  std::int64_t sum = 0;
  for (const PackedClass& each : problem.classes) sum += each.count;
  return sum;
}

/// The least makespan above `known` at which the groups may fit; nothing if they may at `known`, or never do.
std::optional<Nanoseconds> least_makespan(const PackingProblem& problem, Nanoseconds known, const Budget& budget) {
  if (may_fit(problem, known, kStepsPerQuestion, budget)) return std::nullopt;
  Nanoseconds low = known;  // too short
  Nanoseconds high = std::max<Nanoseconds>(known, 1);
  while (high < kForever) {
    high *= 2;
    if (may_fit(problem, high, kStepsPerQuestion, budget)) break;
    low = high;
  }
  if (high >= kForever) return std::nullopt;  // for want of memory
  while (high - low > 1) {
    const Nanoseconds middle = low + (high - low) / 2;
    (may_fit(problem, middle, kStepsPerQuestion, budget) ? high : low) = middle;
  }
  return high;
}

}  // namespace

std::optional<LowerBound> packing_bound(const BoundContext& context) {
  const Problem& problem = context.relaxation.problem();
  Nanoseconds best = context.known;
  std::optional<LowerBound> result;
  for (std::size_t s = 0; s < problem.cluster().stream_names().size(); ++s) {
    const std::optional<PackingProblem> packing = packing_problem(context.relaxation, context.ends, StreamId(s));
    if (!packing) continue;
    for (const PackingProblem& question : questions_of(*packing)) {
      if (context.budget.expired()) return result;
      const std::optional<Nanoseconds> makespan = least_makespan(question, best, context.budget);
      if (!makespan) continue;
      best = *makespan;
      result = LowerBound{"packing", Duration(best),
                          fmt::format("{} groups of {} sizes, stream \"{}\"", group_count(question),
                                      question.classes.size(), problem.cluster().stream_names()[s])};
    }
  }
  return result;
}

std::optional<std::string> packing_proof(const Relaxation& relaxation) {
  const std::vector<Nanoseconds> none(relaxation.task_count(), 0);
  const std::optional<PackingProblem> packing = packing_problem(relaxation, {none, none}, StreamId(0));
  if (!packing) return std::nullopt;
  for (const PackingProblem& question : questions_of(*packing)) {
    if (may_fit(question, kForever, kStepsPerQuestion, Budget())) continue;
    std::int64_t bytes = 0;
    std::int64_t devices = 0;
    for (const PackedClass& each : packing->classes) bytes += each.count * each.bytes;
    for (const PackedDevices& kind : packing->kinds) devices += kind.count;
    return fmt::format(
        "{} groups of operators with {} bytes of parameters do not fit into the memory of {} devices, each "
        "group whole on one of them",
        group_count(*packing), bytes, devices);
  }
  return std::nullopt;
}

}  // namespace opweave::bounds
