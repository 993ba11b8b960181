#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <system_error>
#include <thread>
#include <utility>

#include "core/left_behind.h"
#include "exact/engine.h"
#include "opweave/error.h"

namespace opweave::exact {
namespace {

using Clock = std::chrono::steady_clock;

/// What worker and caller share; lives until both are done with it.
template <class Model>
struct Shared {
  EngineRun<Model> line;
  std::mutex mutex;
  std::condition_variable finished;
  bool is_finished = false;
  bool is_left_behind = false;
  Claim<Model> claim;
};

template <class Model>
void work(const std::shared_ptr<const Engine<Model>>& engine, const std::shared_ptr<const Model>& model,
          const EngineLimits& limits, const std::shared_ptr<Shared<Model>>& shared) {
  Claim<Model> claim;
  try {
    claim = engine->solve(*model, limits, shared->line);
  } catch (const std::exception& error) {
    claim.status = EngineStatus::kFailed;
    claim.message = error.what();
  } catch (...) {
    claim.status = EngineStatus::kFailed;
    claim.message = "unknown exception";
  }
  const std::lock_guard lock(shared->mutex);
  shared->claim = std::move(claim);
  shared->is_finished = true;
  if (shared->is_left_behind) came_home();
  shared->finished.notify_all();
}

/// Largest difference between two objectives that rounding explains.
double objective_slack(const MipModel&, double value) { return 1e-5 + 1e-7 * std::abs(value); }
std::int64_t objective_slack(const CpModel&, std::int64_t) { return 0; }

/// The best solution that is known - the start, then what has been reported - and the best bound.
template <class Model>
class Record {
 public:
  Record(const Model& model, const OnImprovement<Model>& on_improvement)
      : model_(model), on_improvement_(on_improvement) {
    std::vector<typename Model::Value> start = model.start();
    if (start.empty() || !model.violation(start).empty()) return;
    objective_ = model.objective(start);
    values_ = std::move(start);
  }

  void follow(EngineRun<Model>& line) {
    typename EngineRun<Model>::News news = line.take_news();
    if (news.bound && (!bound_ || *news.bound > *bound_)) bound_ = news.bound;
    if (news.values.empty() || !model_.violation(news.values).empty()) return;
    const auto objective = model_.objective(news.values);
    if (!values_.empty() && objective >= objective_) return;
    values_ = std::move(news.values);
    objective_ = objective;
    if (on_improvement_) on_improvement_(values_, objective_);
  }

  /// What can be said without an answer.
  [[nodiscard]] Claim<Model> claim() const {
    Claim<Model> result;
    result.status = values_.empty() ? EngineStatus::kUnknown : EngineStatus::kFeasible;
    result.values = values_;
    result.objective = objective_;
    result.bound = bound_;
    return result;
  }

  [[nodiscard]] bool beats(const Claim<Model>& claim) const {
    return !values_.empty() && (claim.values.empty() || claim.objective > objective_);
  }

 private:
  const Model& model_;
  const OnImprovement<Model>& on_improvement_;
  std::vector<typename Model::Value> values_;
  typename Model::Value objective_{};
  std::optional<typename Model::Value> bound_;
};

/// The answer, or why it is none.
template <class Model>
Claim<Model> judge(const Model& model, const std::string& engine, Claim<Model> claim, const Record<Model>& record) {
  const bool has_answer = claim.status == EngineStatus::kOptimal || claim.status == EngineStatus::kFeasible;
  if (!has_answer) claim.values.clear();
  std::string refusal = objection(model, claim);
  if (refusal.empty() && claim.status == EngineStatus::kOptimal && record.beats(claim)) {
    refusal = "an optimum that is worse than a solution reported before";
  }
  if (refusal.empty() && claim.status == EngineStatus::kInfeasible && record.beats(claim)) {
    refusal = "infeasible, after a solution was reported";
  }
  if (!refusal.empty()) {
    claim = {};
    claim.status = EngineStatus::kFailed;
    claim.message = fmt::format("{} answers nonsense: {}", engine, refusal);
    return claim;
  }
  if (has_answer) claim.objective = model.objective(claim.values);
  if (claim.status == EngineStatus::kOptimal) claim.bound = claim.objective;
  // An interrupted engine may return less than it has reported.
  if ((claim.status == EngineStatus::kFeasible || claim.status == EngineStatus::kUnknown) && record.beats(claim)) {
    Claim<Model> reported = record.claim();
    if (!reported.bound || (claim.bound && *claim.bound > *reported.bound)) reported.bound = claim.bound;
    reported.message = std::move(claim.message);
    return reported;
  }
  return claim;
}

}  // namespace

std::string_view to_string(EngineStatus status) {
  switch (status) {
    case EngineStatus::kOptimal:
      return "optimal";
    case EngineStatus::kFeasible:
      return "feasible";
    case EngineStatus::kInfeasible:
      return "infeasible";
    case EngineStatus::kUnbounded:
      return "unbounded";
    case EngineStatus::kUnknown:
      return "unknown";
    case EngineStatus::kInvalidModel:
      return "invalid model";
    case EngineStatus::kUnavailable:
      return "unavailable";
    case EngineStatus::kFailed:
      return "failed";
  }
  throw InternalError("unknown engine status");
}

template <class Model>
bool EngineRun<Model>::stop_requested() const {
  const std::lock_guard lock(mutex_);
  return stop_;
}

template <class Model>
void EngineRun<Model>::on_stop(std::function<void()> interrupt) {
  const std::lock_guard lock(mutex_);
  interrupt_ = std::move(interrupt);
  if (stop_ && interrupt_) interrupt_();
}

template <class Model>
void EngineRun<Model>::improved(std::vector<Value> values) {
  const std::lock_guard lock(mutex_);
  news_.values = std::move(values);
}

template <class Model>
void EngineRun<Model>::bounded(Value bound) {
  const std::lock_guard lock(mutex_);
  if (!news_.bound || bound > *news_.bound) news_.bound = bound;
}

template <class Model>
void EngineRun<Model>::request_stop() {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  stop_ = true;
  if (interrupt_) interrupt_();
}

template <class Model>
typename EngineRun<Model>::News EngineRun<Model>::take_news() {
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

template <class Model>
std::string objection(const Model& model, const Claim<Model>& claim) {
  if (claim.status != EngineStatus::kOptimal && claim.status != EngineStatus::kFeasible) return {};
  if (std::string broken = model.violation(claim.values); !broken.empty()) return broken;
  const auto objective = model.objective(claim.values);
  const auto slack = objective_slack(model, objective);
  if (claim.objective < objective - slack || claim.objective > objective + slack) {
    return fmt::format("objective {} of a solution whose objective is {}", claim.objective, objective);
  }
  if (claim.bound && *claim.bound > objective + slack) {
    return fmt::format("bound {} above a solution of {}", *claim.bound, objective);
  }
  return {};
}

template <class Model>
Claim<Model> run(const std::shared_ptr<const Engine<Model>>& engine, const std::shared_ptr<const Model>& model,
                 const EngineLimits& given, const std::function<bool()>& should_stop,
                 const OnImprovement<Model>& on_improvement) {
  // Threads of a solver beyond the processors bring nothing, and where the system has no more to give, it aborts.
  EngineLimits limits = given;
  limits.threads = std::min(limits.threads, std::max(1U, std::thread::hardware_concurrency()));
  const Clock::time_point begin = Clock::now();
  Claim<Model> early;
  if (early.message = engine->unavailable_because(); !early.message.empty()) {
    early.status = EngineStatus::kUnavailable;
    return early;
  }
  if (early.message = model->defect(); !early.message.empty()) {
    early.status = EngineStatus::kInvalidModel;
    return early;
  }

  const auto shared = std::make_shared<Shared<Model>>();
  // The worker holds its own references: it may outlive this call.
  try {
    std::thread([engine, model, limits, shared] { work<Model>(engine, model, limits, shared); }).detach();
  } catch (const std::system_error& error) {
    early.status = EngineStatus::kFailed;
    early.message = fmt::format("{} gets no thread: {}", engine->name(), error.what());
    return early;
  }

  Record<Model> record(*model, on_improvement);
  std::optional<Clock::time_point> stop_at;
  if (limits.seconds) {
    stop_at = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*limits.seconds));
  }
  const auto grace = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(kGraceSeconds));
  std::optional<Clock::time_point> leave_at;
  std::unique_lock lock(shared->mutex);
  while (!shared->is_finished) {
    shared->finished.wait_for(lock, std::chrono::milliseconds(4));
    if (shared->is_finished) break;
    lock.unlock();
    record.follow(shared->line);
    const Clock::time_point now = Clock::now();
    if (!leave_at && ((stop_at && now >= *stop_at) || (should_stop && should_stop()))) {
      leave_at = now + grace;
      shared->line.request_stop();
    }
    lock.lock();
    if (leave_at && now >= *leave_at && !shared->is_finished) {
      shared->is_left_behind = true;
      leave_behind();
      break;
    }
  }
  const bool left_behind = shared->is_left_behind;
  Claim<Model> claim;
  if (!left_behind) claim = std::move(shared->claim);
  lock.unlock();
  record.follow(shared->line);
  if (left_behind) {
    claim = record.claim();
    claim.abandoned = true;
    claim.message = fmt::format("{} ignored its limit and was left behind", engine->name());
    return claim;
  }
  return judge(*model, engine->name(), std::move(claim), record);
}

template class EngineRun<MipModel>;
template class EngineRun<CpModel>;
template std::string objection(const MipModel&, const Claim<MipModel>&);
template std::string objection(const CpModel&, const Claim<CpModel>&);
template Claim<MipModel> run(const std::shared_ptr<const MipEngine>&, const std::shared_ptr<const MipModel>&,
                             const EngineLimits&, const std::function<bool()>&, const OnImprovement<MipModel>&);
template Claim<CpModel> run(const std::shared_ptr<const CpEngine>&, const std::shared_ptr<const CpModel>&,
                            const EngineLimits&, const std::function<bool()>&, const OnImprovement<CpModel>&);

}  // namespace opweave::exact
