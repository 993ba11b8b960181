#include "planner/cp_sat_targets_method.h"

#include <algorithm>
#include <utility>

#include "exact/lag_program.h"
#include "exact/retime.h"
#include "planner/routing_method.h"

namespace opweave {
namespace {

constexpr const char* kTargets = "cp-sat targets";
/// Share of a thread beside the searches: where targets can lead to plans, and where they only bound.
constexpr double kTargetShare = 0.2;
constexpr double kShareOfBounds = 0.1;
/// Intervals and pairs of options beyond which the program is not built.
constexpr std::size_t kMostTargetChoices = 200'000;
/// Seconds for a question at first; twice as many when no target down to the least height was decided.
constexpr double kFirstSlice = 0.3;
constexpr double kLeastHeight = 1.0 / 8;
constexpr std::uint32_t kMostTargetFailures = 3;

}  // namespace

bool CpSatTargetsMethod::supports(const ProblemTraits& traits) {
  return RoutingMethod::supports(traits) && exact::LagProgram::size(traits.problem) <= kMostTargetChoices &&
         !traits.space()->deliveries().empty();
}

bool CpSatTargetsMethod::is_exact(const ProblemTraits& traits) { return exact::LagProgram::is_exact(*traits.space()); }

double CpSatTargetsMethod::share(const ProblemTraits& traits) {
  return is_exact(traits) ? kTargetShare : kShareOfBounds;
}

CpSatTargetsMethod::CpSatTargetsMethod(const SearchContext& context, std::uint64_t seed)
    : problem_(context.problem()),
      engine_(context.solver),
      space_(context.traits.space()),
      seed_(seed),
      slice_(kFirstSlice) {
  is_done_ = !engine_->unavailable_because().empty();
}

std::optional<std::int64_t> CpSatTargetsMethod::next_target(const IncumbentStore& incumbent) const {
  const std::int64_t unit = space_->unit().length.value();
  const std::int64_t least = (incumbent.lower_bound().value() + unit - 1) / unit;
  // Makespans of interest are whole ticks.
  std::int64_t most = (incumbent.makespan()->value() - 1) / unit;
  if (met_) most = std::min(most, *met_ - 1);
  if (least > most) return std::nullopt;
  return least + static_cast<std::int64_t>(height_ * static_cast<double>(most - least));
}

void CpSatTargetsMethod::advance(IncumbentStore& incumbent, const Slice& slice) {
  const std::uint32_t calls = slice.solver_calls(problem_);
  for (std::uint32_t i = 0; i < calls && !is_done_ && !slice.budget.expired(); ++i) {
    const std::optional<std::int64_t> target = next_target(incumbent);
    if (target) {
      ask(*target, incumbent, slice);
    } else {
      is_done_ = true;
    }
  }
}

void CpSatTargetsMethod::take_no_answer() {
  height_ /= 2;
  if (height_ >= kLeastHeight) return;
  height_ = 1;
  slice_ *= 2;
}

void CpSatTargetsMethod::ask(std::int64_t target, IncumbentStore& incumbent, const Slice& slice) {
  const Budget& budget = slice.budget;
  const Duration unit = space_->unit().length;
  const auto program = std::make_shared<exact::LagProgram>(space_, target);

  const auto is_decided = [&] {
    return budget.expired() || *incumbent.makespan() <= unit * target || incumbent.lower_bound() > unit * target;
  };
  exact::EngineLimits limits;
  limits.seconds = budget.remaining();
  if (slice.is_repeatable()) {
    limits.work = slice.share(1.0 / slice.solver_calls(problem_)).solver_work(problem_);
    limits.deterministic = true;
  } else {
    limits.seconds = std::min(slice_, limits.seconds.value_or(slice_));
  }
  limits.seed = ++seed_;
  // The alias keeps the program alive as long as a worker that was left behind reads the model.
  const std::shared_ptr<const exact::CpModel> model(program, &program->model());
  const auto claim = exact::run<exact::CpModel>(engine_, model, limits, is_decided);
  using Status = exact::EngineStatus;
  const bool has_failed = claim.abandoned || (claim.status != Status::kOptimal && claim.status != Status::kFeasible &&
                                              claim.status != Status::kInfeasible && claim.status != Status::kUnknown);
  if (has_failed) {
    is_done_ = ++failures_ >= kMostTargetFailures;
    return;
  }
  failures_ = 0;
  if (claim.status == Status::kInfeasible) {
    incumbent.raise_bound({kTargets, unit * (target + 1), "a shorter schedule was refuted by the solver"});
    height_ = std::min(1.0, 2 * height_);
  } else if (claim.has_solution()) {
    met_ = target;
    if (const auto schedule = exact::retime(problem_, program->read(claim.values))) {
      if (schedule->makespan(problem_) < *incumbent.makespan()) incumbent.offer(*schedule, kTargets);
    }
  } else if (!is_decided()) {
    take_no_answer();
  }
}

}  // namespace opweave
