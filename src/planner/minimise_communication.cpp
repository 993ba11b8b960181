#include "planner/minimise_communication.h"

#include <limits>
#include <span>
#include <vector>

#include "exact/communication_mip.h"
#include "list_scheduling/placed_problem.h"
#include "placement/gathering.h"
#include "planner/ask_solver.h"
#include "planner/placement_offers.h"

namespace opweave {
namespace {

/// Loads that the placements may have, as parts of the deadline: the fuller the streams, the less order and transfers
/// fit between.
constexpr double kLoadShares[] = {1, 0.95, 0.9, 0.8, 0.7, 0.6};
/// Share of what is left of the time for one program.
constexpr double kProgramShare = 0.25;
/// Rounds of chance where neither time nor work is limited, and the part of the work limit that one of them is.
constexpr std::uint64_t kDefaultRounds = 100;
constexpr std::uint64_t kWorkOfRound = 10;
/// Most that chance adds to the size of a value, beside it, when groups are gathered.
constexpr double kMostNoise = 3;

class CommunicationSearch {
 public:
  CommunicationSearch(const CommunicationQuestion& question, const Budget& budget, const PlannerOptions& options,
                      GoalStore& store)
      : question_(question),
        budget_(budget),
        options_(options),
        store_(store),
        offers_(question.restricted, question.deadline, options.seed, store),
        random_(options.seed) {}

  ObjectiveBound run() {
    if (!question_.placement_is_fixed) gather();
    ask_programs();
    if (is_open()) {
      (void)ask_solver(exact::UntimedGoal::kCommunication, question_.proven, question_.deadline, budget_, options_,
                       store_, bound_);
    }
    if (question_.placement_is_fixed) return bound_;
    if (is_open()) offers_.offer_guesses(budget_);
    try_by_chance();
    return bound_;
  }

 private:
  [[nodiscard]] std::int64_t moved() const { return store_.value(Objective::kCommunication); }
  [[nodiscard]] bool is_open() const { return moved() > bound_.value && !budget_.expired(); }
  [[nodiscard]] const Problem& problem() const { return question_.restricted.problem(); }
  [[nodiscard]] std::optional<Duration> load(double share) const {
    if (!question_.deadline) return std::nullopt;
    return Duration(static_cast<std::int64_t>(static_cast<double>(question_.deadline->value()) * share));
  }

  /// What exchanges much together, in time.
  void gather() {
    for (const double share : kLoadShares) {
      if (!is_open()) return;
      if (const auto modes = gathered_placement(problem(), random_, {load(share), 0})) offer(*modes, "gathering");
      if (!question_.deadline) return;
    }
  }

  void ask_programs() {
    for (const double share : kLoadShares) {
      if (!is_open()) return;
      const RestrictedProblem& asked = share == 1 ? question_.proven : question_.restricted;
      const exact::LeastCommunication least = exact::least_communication(
          asked.problem(), load(share), budget_.share(kProgramShare), options_.threads, options_.seed);
      // Only the first program allows all that the deadline does.
      if (share == 1 && least.bound) bound_.raise(least.bound->value(), "placement program without order");
      if (least.modes && !question_.placement_is_fixed) {
        PlacementOffers(asked, question_.deadline, options_.seed, store_)
            .offer(*least.modes, "communication program", budget_);
      }
      if (!question_.deadline || !least.modes) return;
    }
  }

  /// The rest of the time: groups gathered by chance, and single ones moved to where less is sent.
  void try_by_chance() {
    std::uint64_t rounds = budget_.remaining() ? std::numeric_limits<std::uint64_t>::max() : kDefaultRounds;
    if (budget_.work_limit()) rounds = *budget_.work_limit() / kWorkOfRound;
    for (std::uint64_t round = 0; round < rounds && is_open(); ++round) {
      if (round % 4 == 0) {
        const auto modes = gathered_placement(problem(), random_, {load(1), kMostNoise * random_.unit()});
        if (modes) offer(*modes, "gathering");
      } else {
        move_one();
      }
    }
  }

  void move_one() {
    const auto narrow = question_.restricted.narrow(*store_.schedule());
    if (!narrow) return;
    const GroupId group(random_.below(problem().group_count()));
    const std::span<const Option> options = problem().options(group);
    if (options.size() < 2) return;
    const Option& option = options[random_.below(options.size())];
    std::vector<ModeIndex> modes = narrow->modes();
    for (const TaskId task : problem().tasks_of(group)) modes[task.index()] = *problem().mode_on(task, option.devices);
    offer(modes, "gathering");
  }

  /// Only what moves fewer bytes is worth a schedule.
  void offer(const std::vector<ModeIndex>& modes, const char* method) {
    const auto placed = PlacedProblem::create(problem(), modes);
    if (!placed) return;
    std::int64_t bytes = 0;
    for (std::size_t i = placed->task_count(); i < placed->activity_count(); ++i) {
      bytes += problem().size(placed->transfer(static_cast<ActivityId>(i)).value).value();
    }
    if (bytes < moved()) offers_.offer(modes, method, budget_);
  }

  const CommunicationQuestion& question_;
  const Budget& budget_;
  const PlannerOptions& options_;
  GoalStore& store_;
  PlacementOffers offers_;
  Random random_;
  ObjectiveBound bound_;
};

}  // namespace

ObjectiveBound minimise_communication(const CommunicationQuestion& question, const Budget& budget,
                                      const PlannerOptions& options, GoalStore& store) {
  return CommunicationSearch(question, budget, options, store).run();
}

}  // namespace opweave
