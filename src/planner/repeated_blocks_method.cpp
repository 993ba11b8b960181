#include "planner/repeated_blocks_method.h"

#include <fmt/format.h>

#include <utility>

#include "list_scheduling/list_schedule.h"
#include "planner/construction.h"
#include "planner/levels_method.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

/// Share of the time: a quarter of what levels get, which follow.
constexpr double kRepeatedBlocksShare = 0.175;
/// Of it, for the problem with few blocks; the rest is for the schedule of the whole.
constexpr double kShareOfFew = 0.9;

}  // namespace

/// First plans and levels of the problem with few blocks.
struct RepeatedBlocksMethod::Few {
  Few(const Problem& problem, const SearchContext& whole, const Budget& given, std::uint64_t seed)
      : budget(given),
        traits(problem),
        context{traits, whole.options},
        store(problem, budget, {}),
        levels(context, seed, false) {
    Construction construction(problem, store);
    construction.find_first(budget);
    construction.complete(budget);
    context.starts = construction.starts();
    context.step = construction.longest_step();
  }

  const Budget budget;
  const ProblemTraits traits;
  SearchContext context;
  IncumbentStore store;
  LevelsMethod levels;
};

bool RepeatedBlocksMethod::supports(const ProblemTraits& traits) {
  return !RoutingMethod::supports(traits) && LevelsMethod::supports(traits);
}

double RepeatedBlocksMethod::share(const ProblemTraits&) { return kRepeatedBlocksShare; }

RepeatedBlocksMethod::RepeatedBlocksMethod(SearchContext& context, std::uint64_t seed)
    : context_(context), seed_(seed) {}

RepeatedBlocksMethod::~RepeatedBlocksMethod() = default;

void RepeatedBlocksMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  const Problem& problem = context_.problem();
  const Budget for_steps = slice.budget.share(kShareOfFew).keeping(2 * context_.step);
  if (for_steps.expired()) return;
  if (!blocks_) blocks_ = coarsen::RepeatedBlocks::find(problem);
  is_done_ = !blocks_;
  if (is_done_ || for_steps.expired()) return;
  if (!few_) few_ = std::make_unique<Few>(blocks_->problem(), context_, for_steps, seed_);
  is_done_ = !few_->store.makespan();
  if (is_done_) return;
  if (!few_->store.is_optimal()) few_->levels.advance(few_->store, {for_steps, slice.evaluations, slice.threads});
  if (slice.budget.expired()) return;
  auto modes = blocks_->expand(problem, few_->store.schedule());
  if (!modes) return;
  std::optional<Schedule> schedule = list_schedule(problem, std::move(*modes));
  if (!schedule) return;
  const Duration makespan = schedule->makespan(problem);
  const std::string method = fmt::format("{} blocks like those of a plan for few", blocks_->block_count());
  if (!incumbent.offer(*schedule, method)) return;
  context_.starts.insert(context_.starts.begin(), {std::move(*schedule), makespan, method});
}

}  // namespace opweave
