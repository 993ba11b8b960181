#include "placement_search/carried_moves.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/random.h"
#include "list_scheduling/placed_problem.h"
#include "order_search/order_search.h"
#include "order_search/schedule_in_order.h"
#include "placement_search/placement_moves.h"
#include "placement_search/step_model.h"

namespace opweave {
namespace {

/// Orders that a moved schedule gets to recover, and the temperature at which they begin, in mean durations.
constexpr std::uint64_t kOrdersPerMove = 300;
constexpr double kMovedTemperature = 0.2;
/// Evaluations of orders that take as long as the order carried over, and as the beginning of an order search (measured
/// on 1,000 to 6,000 tasks: 90 and 60).
constexpr std::uint64_t kOrdersPerCarry = 90;
constexpr std::uint64_t kOrdersPerSearch = 60;
/// What is longer by this share when the order is carried over does not recover.
constexpr double kFarthestMoved = 1.1;
/// Share of the tries that leave the placement and go on with the order.
constexpr std::uint32_t kOrderPercent = 25;
/// So many moves one after the other without a shorter step are enough.
constexpr std::uint32_t kMovesInVain = 150;

class BundleMover {
 public:
  BundleMover(const Problem& problem, const Schedule& start, const Budget& budget, const CarriedMovesOptions& options)
      : problem_(problem),
        budget_(budget),
        most_(options.max_evaluations),
        model_(problem, start.modes()),
        moves_(model_),
        random_(options.seed),
        best_(start),
        makespan_(start.makespan(problem)) {}

  Schedule run(const std::function<void(const Schedule&)>& on_improvement) {
    std::vector<std::size_t> home;
    if (model_.movable().empty() || !model_.home_of(best_.modes(), home)) return best_;
    for (std::uint32_t in_vain = 0; in_vain < kMovesInVain && !is_over();) {
      const bool moves = random_.below(100) >= kOrderPercent;
      std::optional<Schedule> tried = moves ? moved(home) : best_;
      if (moves) ++in_vain;
      if (!tried || is_over()) continue;
      spent_ += kOrdersPerSearch + kOrdersPerMove;
      const OrderSearchOptions how{random_.below(UINT32_MAX), kOrdersPerMove, kMovedTemperature, {}};
      *tried = improve_order(problem_, *tried, budget_, how, {});
      const Duration makespan = tried->makespan(problem_);
      if (makespan > makespan_) continue;
      const bool is_shorter = makespan < std::exchange(makespan_, makespan);
      best_ = *std::move(tried);
      if (!model_.home_of(best_.modes(), home)) break;
      if (!is_shorter) continue;
      if (moves) in_vain = 0;
      if (on_improvement) on_improvement(best_);
    }
    return best_;
  }

 private:
  [[nodiscard]] bool is_over() const { return budget_.expired() || spent_ >= most_; }

  /// The best schedule after a random move, in the same order; nothing if it does not fit or is much longer.
  std::optional<Schedule> moved(std::vector<std::size_t> home) {
    if (!moves_.change(home, random_)) return std::nullopt;
    std::optional<std::vector<ModeIndex>> modes = model_.modes(home);
    if (!modes || *modes == best_.modes()) return std::nullopt;
    const auto placed = PlacedProblem::create(problem_, *std::move(modes));
    if (!placed) return std::nullopt;
    spent_ += kOrdersPerCarry;
    std::vector<std::int64_t> wishes(placed->activity_count(), 0);
    for (ActivityId task = 0; task < placed->task_count(); ++task) wishes[task] = best_.tasks[task].start.value();
    // A transfer leaves when the value is there.
    for (auto each = static_cast<ActivityId>(placed->task_count()); each < placed->activity_count(); ++each) {
      const std::optional<TaskId> producer = problem_.producer(placed->transfer(each).value);
      if (producer)
        wishes[each] = wishes[producer->index()] + placed->duration(static_cast<ActivityId>(producer->index()));
    }
    std::optional<Schedule> result = schedule_in_order(*placed, wishes);
    const double farthest = kFarthestMoved * static_cast<double>(makespan_.value());
    if (result && static_cast<double>(result->makespan(problem_).value()) > farthest) return std::nullopt;
    return result;
  }

  const Problem& problem_;
  const Budget& budget_;
  const std::uint64_t most_;
  const StepModel model_;
  const PlacementMoves moves_;
  Random random_;
  Schedule best_;
  Duration makespan_;
  std::uint64_t spent_ = 0;
};

}  // namespace

Schedule move_bundles(const Problem& problem, const Schedule& start, const Budget& budget,
                      const CarriedMovesOptions& options, const std::function<void(const Schedule&)>& on_improvement) {
  return BundleMover(problem, start, budget, options).run(on_improvement);
}

}  // namespace opweave
