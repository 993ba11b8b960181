#include "planner/target_lane.h"

#include <algorithm>
#include <utility>

#include "exact/lag_program.h"
#include "exact/retime.h"

namespace opweave {
namespace {

constexpr const char* kTargets = "cp-sat targets";
/// Intervals and pairs of options beyond which the program is not built.
constexpr std::size_t kMostChoices = 200'000;
/// Seconds for a question at first; twice as many when no target down to the least height was decided.
constexpr double kFirstSlice = 0.3;
constexpr double kLeastHeight = 1.0 / 8;
constexpr std::uint32_t kMostFailures = 3;

}  // namespace

bool TargetLane::supports(const ProblemTraits& traits) {
  return traits.microbatches == 1 && traits.has_open_placement &&
         exact::LagProgram::size(traits.problem) <= kMostChoices;
}

TargetLane::TargetLane(const Problem& problem, std::uint64_t seed, IncumbentStore& incumbent,
                       std::shared_ptr<const exact::CpEngine> engine)
    : problem_(problem),
      engine_(std::move(engine)),
      incumbent_(incumbent),
      space_(std::make_shared<const exact::ScheduleSpace>(problem, exact::exact_unit(problem))),
      is_exact_(exact::LagProgram::is_exact(*space_)),
      seed_(seed),
      slice_(kFirstSlice) {
  // Without transfers the program of the whole is as small, and says more.
  is_done_ = space_->shipments().empty() || !engine_->unavailable_because().empty();
}

std::optional<std::int64_t> TargetLane::next_target() const {
  const std::int64_t unit = space_->unit().length.value();
  const std::int64_t least = (incumbent_.lower_bound().value() + unit - 1) / unit;
  // Makespans of interest are whole ticks.
  std::int64_t most = (incumbent_.makespan()->value() - 1) / unit;
  if (met_) most = std::min(most, *met_ - 1);
  if (least > most) return std::nullopt;
  return least + static_cast<std::int64_t>(height_ * static_cast<double>(most - least));
}

void TargetLane::advance(const Budget& budget) {
  while (!is_done_ && !budget.expired()) {
    const std::optional<std::int64_t> target = next_target();
    if (target) {
      ask(*target, budget);
    } else {
      is_done_ = true;
    }
  }
}

void TargetLane::take_no_answer() {
  height_ /= 2;
  if (height_ >= kLeastHeight) return;
  height_ = 1;
  slice_ *= 2;
}

void TargetLane::ask(std::int64_t target, const Budget& budget) {
  const Duration unit = space_->unit().length;
  const auto program = std::make_shared<exact::LagProgram>(space_, target);

  const auto is_decided = [&] {
    return budget.expired() || *incumbent_.makespan() <= unit * target || incumbent_.lower_bound() > unit * target;
  };
  exact::EngineLimits limits;
  limits.seconds = std::min(slice_, budget.remaining().value_or(slice_));
  limits.seed = ++seed_;
  // The alias keeps the program alive as long as a worker that was left behind reads the model.
  const std::shared_ptr<const exact::CpModel> model(program, &program->model());
  const auto claim = exact::run<exact::CpModel>(engine_, model, limits, is_decided);
  using Status = exact::EngineStatus;
  const bool has_failed = claim.abandoned || (claim.status != Status::kOptimal && claim.status != Status::kFeasible &&
                                              claim.status != Status::kInfeasible && claim.status != Status::kUnknown);
  if (has_failed) {
    is_done_ = ++failures_ >= kMostFailures;
    return;
  }
  failures_ = 0;
  if (claim.status == Status::kInfeasible) {
    incumbent_.raise_bound({kTargets, unit * (target + 1), "a shorter schedule was refuted by the solver"});
    height_ = std::min(1.0, 2 * height_);
  } else if (claim.has_solution()) {
    met_ = target;
    if (const auto schedule = exact::retime(problem_, program->read(claim.values))) {
      if (schedule->makespan(problem_) < *incumbent_.makespan()) incumbent_.offer(*schedule, kTargets);
    }
  } else if (!is_decided()) {
    take_no_answer();
  }
}

}  // namespace opweave
