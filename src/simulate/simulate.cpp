#include "opweave/simulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>

#include "opweave/error.h"
#include "simulate/channels.h"
#include "simulate/control_successors.h"
#include "simulate/deadlock.h"
#include "simulate/joint_runs.h"
#include "simulate/running_tasks.h"
#include "simulate/turns.h"

namespace opweave {
namespace {

using simulation::JointRun;
using simulation::JointRuns;
using simulation::kMillion;
using simulation::Member;
using simulation::RunningTasks;
using simulation::Turns;
using simulation::Wide;

/// Time goes from moment to moment at which something ends. Everything that can happen at a moment
/// without time passing happens before any transfer is given its channels, so that the order among
/// the transfers of one moment depends on nothing but their values and destinations.
class Simulation {
 public:
  Simulation(const Problem& problem, const ExecutionOrder& order, const SimulationOptions& options)
      : problem_(problem),
        slowdown_(simulation::millionths(options.compute_slowdown)),
        runs_(simulation::make_joint_runs(problem, order, options.durations, slows())),
        channels_(problem.cluster(), options.contention),
        running_(problem, runs_, slowdown_),
        control_(problem) {
    result_.schedule.tasks.resize(problem.task_count());
    for (std::size_t t = 0; t < problem.task_count(); ++t) result_.schedule.tasks[t].mode = order.modes[t];
    result_.task_ends.resize(problem.task_count());
    started_.resize(runs_.runs.size());
    ended_.resize(runs_.runs.size());
    instant_.resize(runs_.runs.size());
    for (std::size_t p = 0; p < runs_.runs.size(); ++p) instant_[p] = runs_.takes_no_time(p, advances_as_one(p));
    conditions_ = runs_.conditions(problem);
    next_index_.assign(runs_.queue_first.begin(), runs_.queue_first.end() - 1);
    queue_busy_.resize(next_index_.size());
    granted_.resize(next_index_.size());
    if (options.channels.queue != ChannelQueue::kNone) turns_.emplace(problem, options.turns, options.channels);
    unfinished_.resize(slows() ? runs_.runs.size() : 0);
    conditions_of_task_.resize(slows() ? problem.task_count() : 0);
    followers_.resize(slows() ? problem.task_count() : 0);
  }

  SimulationResult simulate() {
    for (std::uint32_t queue = 0; queue < next_index_.size(); ++queue) grant(queue);
    complete_moment();
    while (!events_.empty()) {
      now_ = events_.top().time;
      complete_moment();
    }
    report_deadlock();
    return std::move(result_);
  }

 private:
  enum class Kind : std::uint8_t { kRunEnds, kTaskEnds, kTransferArrives };

  struct Event {
    Duration time;
    Kind kind;
    std::uint32_t id = 0;
    std::uint32_t version = 0;  // of the forecast, for tasks
    bool operator>(const Event& other) const {
      return std::tie(time, kind, id, version) > std::tie(other.time, other.kind, other.id, other.version);
    }
  };

  /// A value on its way, and the runs that wait for it there: as often as they wait.
  struct TransferUnderway {
    ValueId value;
    DeviceId source;
    DeviceId destination;
    Duration lasts;
    std::size_t first_waiting = 0;
    std::size_t waiting_count = 0;
    std::uint32_t message = 0;  ///< number among those that take turns
  };

  [[nodiscard]] bool slows() const { return slowdown_ > kMillion; }
  [[nodiscard]] std::uint32_t run_of(TaskId task) const { return runs_.run_of[task.index()]; }

  void schedule_event(Wide nanoseconds_from_now, Kind kind, std::uint32_t id, std::uint32_t version = 0) {
    constexpr std::int64_t kLatest = std::int64_t{1} << 62;
    const Wide time = now_.value() + nanoseconds_from_now;
    if (time > kLatest) throw InputError(fmt::format("the simulated time exceeds {} ns", kLatest));
    events_.push({Duration(static_cast<std::int64_t>(time)), kind, id, version});
  }

  void meet_condition(std::uint32_t run) {
    if (--conditions_[run] == 0) ready_runs_.push_back(run);
  }

  /// Lets a stream come to its next run, if that may start as far as the stream is concerned.
  void grant(std::uint32_t queue) {
    if (granted_[queue] || next_index_[queue] == runs_.queue_first[queue + 1]) return;
    const std::uint32_t run = runs_.queue_runs[next_index_[queue]];
    if (queue_busy_[queue] && !instant_[run]) return;
    granted_[queue] = true;
    meet_condition(run);
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case Kind::kRunEnds:
        end_run(event.id);
        break;
      case Kind::kTaskEnds:
        if (running_.is_current(TaskId(event.id), event.version)) end_task(TaskId(event.id));
        break;
      case Kind::kTransferArrives:
        arrive(transfers_[event.id]);
        move_messages();
        break;
    }
  }

  /// Does everything that is possible now; a forecast may say that a task ends at once.
  void complete_moment() {
    do {
      while (!events_.empty() && events_.top().time == now_) {
        const Event event = events_.top();
        events_.pop();
        handle(event);
      }
      start_what_is_ready();
      for (const RunningTasks::Forecast& forecast : running_.take_forecasts()) {
        schedule_event(forecast.ends_in, Kind::kTaskEnds, static_cast<std::uint32_t>(forecast.task.index()),
                       forecast.version);
      }
    } while (!events_.empty() && events_.top().time == now_);
    book_transfers();
  }

  void start_what_is_ready() {
    while (!ready_tasks_.empty() || !ready_runs_.empty()) {
      if (!ready_tasks_.empty()) {
        const TaskId task = ready_tasks_.back();
        ready_tasks_.pop_back();
        start_task(task);
      } else {
        const std::uint32_t run = ready_runs_.back();
        ready_runs_.pop_back();
        start_run(run);
      }
    }
  }

  // Joint runs ----------------------------------------------------------------------------------------

  /// True if the times within the run are known at its start.
  [[nodiscard]] bool advances_as_one(std::size_t run) const { return !slows() || runs_.runs[run].fixed_duration; }

  void start_run(std::uint32_t p) {
    started_[p] = true;
    for (const std::uint32_t queue : runs_.slots_of(p)) {
      ++next_index_[queue];
      granted_[queue] = false;
      if (!instant_[p]) queue_busy_[queue] = true;
    }
    for (const std::uint32_t queue : runs_.slots_of(p)) grant(queue);

    if (advances_as_one(p)) {
      const JointRun& run = runs_.runs[p];
      for (const Member& member : runs_.members_of(p)) {
        const std::size_t t = member.task.index();
        result_.schedule.tasks[t].start = now_ + member.offset;
        result_.task_ends[t] = now_ + (run.fixed_duration ? run.duration : member.offset + runs_.durations[t]);
      }
      if (instant_[p]) {
        end_run(p);
      } else {
        if (slows()) change_occupation(p, &RunningTasks::occupy);
        schedule_event(run.duration.value(), Kind::kRunEnds, p);
      }
      return;
    }
    unfinished_[p] = runs_.runs[p].member_count;
    const auto members = runs_.members_of(p);
    if (members.size() > 1) {
      for (const auto& [earlier, later] : simulation::edges_within(problem_, runs_, p)) {
        followers_[members[earlier].task.index()].push_back(members[later].task);
        ++conditions_of_task_[members[later].task.index()];
      }
    }
    for (const Member& member : members) {
      if (conditions_of_task_[member.task.index()] == 0) ready_tasks_.push_back(member.task);
    }
  }

  void end_run(std::uint32_t p) {
    ended_[p] = true;
    result_.makespan = std::max(result_.makespan, now_);
    if (!instant_[p]) {
      if (slows() && advances_as_one(p)) change_occupation(p, &RunningTasks::release);
      for (const std::uint32_t queue : runs_.slots_of(p)) queue_busy_[queue] = false;
      for (const std::uint32_t queue : runs_.slots_of(p)) grant(queue);
    }
    for (const Member& member : runs_.members_of(p)) {
      for (const TaskId after : control_.of(member.task)) {
        if (run_of(after) != p) meet_condition(run_of(after));
      }
      for (const ValueId value : problem_.outputs(member.task)) deliver(value, member.task, p);
    }
    if (!turns_) return;
    for (const Member& member : runs_.members_of(p)) turns_->end_task(member.task);
    move_messages();
  }

  /// Tells the speed that a run of stated duration takes or leaves streams other than compute.
  void change_occupation(std::uint32_t p, void (RunningTasks::*change)(DeviceId, Duration)) {
    const std::size_t stream_count = problem_.cluster().stream_names().size();
    for (const std::uint32_t queue : runs_.slots_of(p)) {
      if (queue % stream_count != 0) (running_.*change)(DeviceId(queue / stream_count), now_);
    }
  }

  // Tasks of runs that do not advance as one -----------------------------------------------------

  void start_task(TaskId task) {
    result_.schedule.tasks[task.index()].start = now_;
    if (runs_.durations[task.index()] == Duration()) {
      finish_task(task);
    } else {
      running_.begin(task, now_);
    }
  }

  void end_task(TaskId task) {
    running_.end(task, now_);
    finish_task(task);
  }

  void finish_task(TaskId task) {
    result_.task_ends[task.index()] = now_;
    for (const TaskId follower : followers_[task.index()]) {
      if (--conditions_of_task_[follower.index()] == 0) ready_tasks_.push_back(follower);
    }
    const std::uint32_t run = run_of(task);
    if (--unfinished_[run] == 0) end_run(run);
  }

  // Values and transfers ---------------------------------------------------------------------------

  /// The value exists now, where its producer runs.
  void deliver(ValueId value, TaskId producer, std::uint32_t made_in) {
    elsewhere_.clear();
    for (const TaskId consumer : problem_.consumers(value)) {
      const std::uint32_t run = run_of(consumer);
      for (const DeviceId device : runs_.devices[consumer.index()]) {
        if (!runs_.is_on(producer, device)) {
          elsewhere_.emplace_back(device, run);
        } else if (run != made_in) {
          meet_condition(run);
        }
      }
    }
    std::sort(elsewhere_.begin(), elsewhere_.end());
    for (std::size_t i = 0; i < elsewhere_.size();) {
      TransferUnderway transfer{value, {}, elsewhere_[i].first, {}, waiting_runs_.size(), 0};
      for (; i < elsewhere_.size() && elsewhere_[i].first == transfer.destination; ++i) {
        waiting_runs_.push_back(elsewhere_[i].second);
      }
      transfer.waiting_count = waiting_runs_.size() - transfer.first_waiting;
      const auto source = simulation::sender(problem_, runs_.devices[producer.index()], value, transfer.destination);
      if (!source) continue;  // for report_deadlock to say
      transfer.source = *source;
      transfer.lasts = *problem_.transfer_time(value, *source, transfer.destination);
      if (turns_) {
        hold(transfer);
      } else {
        send(transfer);
      }
    }
  }

  // Messages that take turns: held until they begin, then sent like others.

  void hold(TransferUnderway transfer) {
    const auto message = turns_->find(transfer.value, transfer.destination);
    if (!message) throw InputError("turns lack a message of the order");
    transfer.message = *message;
    held_.insert_or_assign(*message, transfer);
    turns_->make(*message);
  }

  /// Everything that follows from what the turns have been told; transfers that take no time go on from here.
  void move_messages() {
    if (!turns_) return;
    for (bool changed = true; changed;) {
      changed = false;
      for (const std::uint32_t message : turns_->take_begun()) {
        send(held_.at(message));
        changed = true;
      }
      for (const std::uint32_t message : turns_->take_received()) {
        hand_over(held_.at(message));
        changed = true;
      }
    }
  }

  void send(const TransferUnderway& transfer) {
    if (transfer.lasts > Duration()) {
      to_book_.push_back(static_cast<std::uint32_t>(transfers_.size()));
      transfers_.push_back(transfer);
      return;
    }
    result_.schedule.transfers.push_back({transfer.value, transfer.source, transfer.destination, now_, now_});
    arrive(transfer);
  }

  void arrive(const TransferUnderway& transfer) {
    if (turns_) {
      turns_->carry(transfer.message);
    } else {
      hand_over(transfer);
    }
  }

  void hand_over(const TransferUnderway& transfer) {
    for (std::size_t i = 0; i < transfer.waiting_count; ++i) {
      meet_condition(waiting_runs_[transfer.first_waiting + i]);
    }
  }

  /// Gives the transfers whose values appeared at this moment their channels.
  void book_transfers() {
    std::sort(to_book_.begin(), to_book_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::tie(transfers_[a].value, transfers_[a].destination) <
             std::tie(transfers_[b].value, transfers_[b].destination);
    });
    for (const std::uint32_t index : to_book_) {
      const TransferUnderway& transfer = transfers_[index];
      const Duration start = channels_.book(transfer.source, transfer.destination, now_, transfer.lasts);
      schedule_event(Wide{(start - now_).value()} + transfer.lasts.value(), Kind::kTransferArrives, index);
      result_.schedule.transfers.push_back(
          {transfer.value, transfer.source, transfer.destination, start, start + transfer.lasts});
    }
    to_book_.clear();
  }

  void report_deadlock() {
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      if (!started_[run_of(TaskId(t))]) result_.deadlocked.emplace_back(t);
    }
    if (!result_.deadlocked.empty()) {
      const auto waits_for_turn = [&](ValueId value, DeviceId device) {
        const auto message = turns_ ? turns_->find(value, device) : std::nullopt;
        return message && !turns_->is_received(*message);
      };
      result_.deadlock = simulation::explain({problem_, runs_, ended_, next_index_, waits_for_turn});
    }
  }

  const Problem& problem_;
  const std::int64_t slowdown_;  // in millionths
  const JointRuns runs_;
  simulation::Channels channels_;
  RunningTasks running_;
  const simulation::ControlSuccessors control_;
  SimulationResult result_;

  Duration now_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;

  // By run.
  std::vector<bool> instant_;  // takes no time, so occupies nothing
  std::vector<bool> started_;
  std::vector<bool> ended_;
  std::vector<std::uint64_t> conditions_;
  std::vector<std::uint32_t> unfinished_;  // tasks of a running run that does not advance as one
  std::vector<std::uint32_t> ready_runs_;

  // By task, for runs that do not advance as one.
  std::vector<std::uint32_t> conditions_of_task_;
  std::vector<std::vector<TaskId>> followers_;
  std::vector<TaskId> ready_tasks_;

  // By queue (a stream of a device).
  std::vector<std::uint32_t> next_index_;  // in JointRuns::queue_runs: the first that has not started
  std::vector<bool> queue_busy_;
  std::vector<bool> granted_;  // the next run knows that it is its turn

  std::optional<Turns> turns_;
  std::map<std::uint32_t, TransferUnderway> held_;  // made, by number of the message
  std::vector<TransferUnderway> transfers_;
  std::vector<std::uint32_t> waiting_runs_;
  std::vector<std::uint32_t> to_book_;
  std::vector<std::pair<DeviceId, std::uint32_t>> elsewhere_;  // consumers of one value: device, run
};

}  // namespace

SimulationResult simulate(const Problem& problem, const ExecutionOrder& order, const SimulationOptions& options) {
  return Simulation(problem, order, options).simulate();
}

}  // namespace opweave
