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
#include "simulate/pace.h"
#include "simulate/pieces.h"
#include "simulate/stall.h"
#include "simulate/turns.h"

namespace opweave {
namespace {

using simulation::kMillion;
using simulation::Member;
using simulation::Pace;
using simulation::Piece;
using simulation::Pieces;
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
        pieces_(simulation::make_pieces(problem, order, options.durations, slows())),
        channels_(problem.cluster(), options.contention),
        pace_(problem, pieces_, slowdown_),
        control_(problem) {
    result_.schedule.tasks.resize(problem.task_count());
    for (std::size_t t = 0; t < problem.task_count(); ++t) result_.schedule.tasks[t].mode = order.modes[t];
    result_.task_ends.resize(problem.task_count());
    started_.resize(pieces_.pieces.size());
    ended_.resize(pieces_.pieces.size());
    find_instants();
    count_conditions();
    if (options.channels.queue != ChannelQueue::kNone) turns_.emplace(problem, options.turns, options.channels);
    unfinished_.resize(slows() ? pieces_.pieces.size() : 0);
    conditions_of_task_.resize(slows() ? problem.task_count() : 0);
    followers_.resize(slows() ? problem.task_count() : 0);
  }

  SimulationResult run() {
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
  enum class Kind : std::uint8_t { kPieceEnds, kTaskEnds, kShipmentArrives };

  struct Event {
    Duration time;
    Kind kind;
    std::uint32_t id = 0;
    std::uint32_t version = 0;  // of the forecast, for tasks
    bool operator>(const Event& other) const {
      return std::tie(time, kind, id, version) > std::tie(other.time, other.kind, other.id, other.version);
    }
  };

  /// A value on its way, and the pieces that wait for it there: as often as they wait.
  struct Shipment {
    ValueId value;
    DeviceId source;
    DeviceId destination;
    Duration lasts;
    std::size_t first_waiting = 0;
    std::size_t waiting_count = 0;
    std::uint32_t message = 0;  ///< number among those that take turns
  };

  [[nodiscard]] bool slows() const { return slowdown_ > kMillion; }
  [[nodiscard]] std::uint32_t piece_of(TaskId task) const { return pieces_.piece_of[task.index()]; }
  [[nodiscard]] bool runs_on(TaskId task, DeviceId device) const {
    const auto devices = pieces_.devices[task.index()];
    return std::binary_search(devices.begin(), devices.end(), device);
  }

  void schedule_event(Wide nanoseconds_from_now, Kind kind, std::uint32_t id, std::uint32_t version = 0) {
    constexpr std::int64_t kLatest = std::int64_t{1} << 62;
    const Wide time = now_.value() + nanoseconds_from_now;
    if (time > kLatest) throw InputError(fmt::format("the simulated time exceeds {} ns", kLatest));
    events_.push({Duration(static_cast<std::int64_t>(time)), kind, id, version});
  }

  /// Pieces that take no time occupy nothing.
  void find_instants() {
    instant_.resize(pieces_.pieces.size());
    for (std::size_t p = 0; p < pieces_.pieces.size(); ++p) {
      instant_[p] = advances_as_one(p) ? pieces_.pieces[p].duration == Duration()
                                       : std::ranges::all_of(pieces_.members_of(p), [&](const Member& member) {
                                           return pieces_.durations[member.task.index()] == Duration();
                                         });
    }
  }

  /// A piece starts when this many things have happened: each input from outside is present on each
  /// device of each of its tasks, each control predecessor has ended, each of its streams has come to it.
  void count_conditions() {
    conditions_.resize(pieces_.pieces.size());
    for (std::size_t p = 0; p < pieces_.pieces.size(); ++p) {
      std::uint64_t count = pieces_.pieces[p].slot_count;
      for (const Member& member : pieces_.members_of(p)) {
        for (const TaskId before : problem_.control_predecessors(member.task)) count += piece_of(before) == p ? 0U : 1U;
        for (const ValueId value : problem_.inputs(member.task)) {
          const std::optional<TaskId> producer = problem_.producer(value);
          if (!producer) continue;
          for (const DeviceId device : pieces_.devices[member.task.index()]) {
            count += piece_of(*producer) == p && runs_on(*producer, device) ? 0U : 1U;
          }
        }
      }
      conditions_[p] = count;
    }
    next_index_.assign(pieces_.queue_first.begin(), pieces_.queue_first.end() - 1);
    queue_busy_.resize(next_index_.size());
    granted_.resize(next_index_.size());
  }

  void meet_condition(std::uint32_t piece) {
    if (--conditions_[piece] == 0) ready_pieces_.push_back(piece);
  }

  /// Lets a stream come to its next piece, if that may start as far as the stream is concerned.
  void grant(std::uint32_t queue) {
    if (granted_[queue] || next_index_[queue] == pieces_.queue_first[queue + 1]) return;
    const std::uint32_t piece = pieces_.queue_pieces[next_index_[queue]];
    if (queue_busy_[queue] && !instant_[piece]) return;
    granted_[queue] = true;
    meet_condition(piece);
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case Kind::kPieceEnds:
        end_piece(event.id);
        break;
      case Kind::kTaskEnds:
        if (pace_.is_current(TaskId(event.id), event.version)) end_task(TaskId(event.id));
        break;
      case Kind::kShipmentArrives:
        arrive(shipments_[event.id]);
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
      for (const Pace::Forecast& forecast : pace_.take_forecasts()) {
        schedule_event(forecast.ends_in, Kind::kTaskEnds, static_cast<std::uint32_t>(forecast.task.index()),
                       forecast.version);
      }
    } while (!events_.empty() && events_.top().time == now_);
    book_shipments();
  }

  void start_what_is_ready() {
    while (!ready_tasks_.empty() || !ready_pieces_.empty()) {
      if (!ready_tasks_.empty()) {
        const TaskId task = ready_tasks_.back();
        ready_tasks_.pop_back();
        start_task(task);
      } else {
        const std::uint32_t piece = ready_pieces_.back();
        ready_pieces_.pop_back();
        start_piece(piece);
      }
    }
  }

  // Pieces -----------------------------------------------------------------------------------------

  /// True if the times within the piece are known at its start.
  [[nodiscard]] bool advances_as_one(std::size_t piece) const {
    return !slows() || pieces_.pieces[piece].fixed_duration;
  }

  void start_piece(std::uint32_t p) {
    started_[p] = true;
    for (const std::uint32_t queue : pieces_.slots_of(p)) {
      ++next_index_[queue];
      granted_[queue] = false;
      if (!instant_[p]) queue_busy_[queue] = true;
    }
    for (const std::uint32_t queue : pieces_.slots_of(p)) grant(queue);

    if (advances_as_one(p)) {
      const Piece& piece = pieces_.pieces[p];
      for (const Member& member : pieces_.members_of(p)) {
        const std::size_t t = member.task.index();
        result_.schedule.tasks[t].start = now_ + member.offset;
        result_.task_ends[t] = now_ + (piece.fixed_duration ? piece.duration : member.offset + pieces_.durations[t]);
      }
      if (instant_[p]) {
        end_piece(p);
      } else {
        if (slows()) change_occupation(p, &Pace::occupy);
        schedule_event(piece.duration.value(), Kind::kPieceEnds, p);
      }
      return;
    }
    unfinished_[p] = pieces_.pieces[p].member_count;
    const auto members = pieces_.members_of(p);
    if (members.size() > 1) {
      for (const auto& [earlier, later] : simulation::edges_within(problem_, pieces_, p)) {
        followers_[members[earlier].task.index()].push_back(members[later].task);
        ++conditions_of_task_[members[later].task.index()];
      }
    }
    for (const Member& member : members) {
      if (conditions_of_task_[member.task.index()] == 0) ready_tasks_.push_back(member.task);
    }
  }

  void end_piece(std::uint32_t p) {
    ended_[p] = true;
    result_.makespan = std::max(result_.makespan, now_);
    if (!instant_[p]) {
      if (slows() && advances_as_one(p)) change_occupation(p, &Pace::release);
      for (const std::uint32_t queue : pieces_.slots_of(p)) queue_busy_[queue] = false;
      for (const std::uint32_t queue : pieces_.slots_of(p)) grant(queue);
    }
    for (const Member& member : pieces_.members_of(p)) {
      for (const TaskId after : control_.of(member.task)) {
        if (piece_of(after) != p) meet_condition(piece_of(after));
      }
      for (const ValueId value : problem_.outputs(member.task)) deliver(value, member.task, p);
    }
    if (!turns_) return;
    for (const Member& member : pieces_.members_of(p)) turns_->end_task(member.task);
    move_messages();
  }

  /// Tells the pace that a piece of stated duration takes or leaves streams other than compute.
  void change_occupation(std::uint32_t p, void (Pace::*change)(DeviceId, Duration)) {
    const std::size_t stream_count = problem_.cluster().stream_names().size();
    for (const std::uint32_t queue : pieces_.slots_of(p)) {
      if (queue % stream_count != 0) (pace_.*change)(DeviceId(queue / stream_count), now_);
    }
  }

  // Tasks of pieces that do not advance as one -----------------------------------------------------

  void start_task(TaskId task) {
    result_.schedule.tasks[task.index()].start = now_;
    if (pieces_.durations[task.index()] == Duration()) {
      finish_task(task);
    } else {
      pace_.begin(task, now_);
    }
  }

  void end_task(TaskId task) {
    pace_.end(task, now_);
    finish_task(task);
  }

  void finish_task(TaskId task) {
    result_.task_ends[task.index()] = now_;
    for (const TaskId follower : followers_[task.index()]) {
      if (--conditions_of_task_[follower.index()] == 0) ready_tasks_.push_back(follower);
    }
    const std::uint32_t piece = piece_of(task);
    if (--unfinished_[piece] == 0) end_piece(piece);
  }

  // Values and transfers ---------------------------------------------------------------------------

  /// The value exists now, where its producer runs.
  void deliver(ValueId value, TaskId producer, std::uint32_t made_in) {
    elsewhere_.clear();
    for (const TaskId consumer : problem_.consumers(value)) {
      const std::uint32_t piece = piece_of(consumer);
      for (const DeviceId device : pieces_.devices[consumer.index()]) {
        if (!runs_on(producer, device)) {
          elsewhere_.emplace_back(device, piece);
        } else if (piece != made_in) {
          meet_condition(piece);
        }
      }
    }
    std::sort(elsewhere_.begin(), elsewhere_.end());
    for (std::size_t i = 0; i < elsewhere_.size();) {
      Shipment shipment{value, {}, elsewhere_[i].first, {}, waiting_pieces_.size(), 0};
      for (; i < elsewhere_.size() && elsewhere_[i].first == shipment.destination; ++i) {
        waiting_pieces_.push_back(elsewhere_[i].second);
      }
      shipment.waiting_count = waiting_pieces_.size() - shipment.first_waiting;
      const auto source = simulation::sender(problem_, pieces_.devices[producer.index()], value, shipment.destination);
      if (!source) continue;  // for report_deadlock to say
      shipment.source = *source;
      shipment.lasts = *problem_.transfer_time(value, *source, shipment.destination);
      if (turns_) {
        hold(shipment);
      } else {
        send(shipment);
      }
    }
  }

  // Messages that take turns: held until they begin, then sent like others.

  void hold(Shipment shipment) {
    const auto message = turns_->find(shipment.value, shipment.destination);
    if (!message) throw InputError("turns lack a message of the order");
    shipment.message = *message;
    held_.insert_or_assign(*message, shipment);
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

  void send(const Shipment& shipment) {
    if (shipment.lasts > Duration()) {
      to_book_.push_back(static_cast<std::uint32_t>(shipments_.size()));
      shipments_.push_back(shipment);
      return;
    }
    result_.schedule.transfers.push_back({shipment.value, shipment.source, shipment.destination, now_, now_});
    arrive(shipment);
  }

  void arrive(const Shipment& shipment) {
    if (turns_) {
      turns_->carry(shipment.message);
    } else {
      hand_over(shipment);
    }
  }

  void hand_over(const Shipment& shipment) {
    for (std::size_t i = 0; i < shipment.waiting_count; ++i) {
      meet_condition(waiting_pieces_[shipment.first_waiting + i]);
    }
  }

  /// Gives the transfers whose values appeared at this moment their channels.
  void book_shipments() {
    std::sort(to_book_.begin(), to_book_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return std::tie(shipments_[a].value, shipments_[a].destination) <
             std::tie(shipments_[b].value, shipments_[b].destination);
    });
    for (const std::uint32_t index : to_book_) {
      const Shipment& shipment = shipments_[index];
      const Duration start = channels_.book(shipment.source, shipment.destination, now_, shipment.lasts);
      schedule_event(Wide{(start - now_).value()} + shipment.lasts.value(), Kind::kShipmentArrives, index);
      result_.schedule.transfers.push_back(
          {shipment.value, shipment.source, shipment.destination, start, start + shipment.lasts});
    }
    to_book_.clear();
  }

  void report_deadlock() {
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      if (!started_[piece_of(TaskId(t))]) result_.deadlocked.emplace_back(t);
    }
    if (!result_.deadlocked.empty()) {
      const auto waits_for_turn = [&](ValueId value, DeviceId device) {
        const auto message = turns_ ? turns_->find(value, device) : std::nullopt;
        return message && !turns_->is_received(*message);
      };
      result_.deadlock = simulation::explain({problem_, pieces_, ended_, next_index_, waits_for_turn});
    }
  }

  const Problem& problem_;
  const std::int64_t slowdown_;  // in millionths
  const Pieces pieces_;
  simulation::Channels channels_;
  Pace pace_;
  const simulation::ControlSuccessors control_;
  SimulationResult result_;

  Duration now_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;

  // By piece.
  std::vector<bool> instant_;
  std::vector<bool> started_;
  std::vector<bool> ended_;
  std::vector<std::uint64_t> conditions_;
  std::vector<std::uint32_t> unfinished_;  // tasks of a running piece that does not advance as one
  std::vector<std::uint32_t> ready_pieces_;

  // By task, for pieces that do not advance as one.
  std::vector<std::uint32_t> conditions_of_task_;
  std::vector<std::vector<TaskId>> followers_;
  std::vector<TaskId> ready_tasks_;

  // By queue (a stream of a device).
  std::vector<std::uint32_t> next_index_;  // in Pieces::queue_pieces: the first that has not started
  std::vector<bool> queue_busy_;
  std::vector<bool> granted_;  // the next piece knows that it is its turn

  std::optional<Turns> turns_;
  std::map<std::uint32_t, Shipment> held_;  // made, by number of the message
  std::vector<Shipment> shipments_;
  std::vector<std::uint32_t> waiting_pieces_;
  std::vector<std::uint32_t> to_book_;
  std::vector<std::pair<DeviceId, std::uint32_t>> elsewhere_;  // consumers of one value: device, piece
};

}  // namespace

SimulationResult simulate(const Problem& problem, const ExecutionOrder& order, const SimulationOptions& options) {
  return Simulation(problem, order, options).run();
}

}  // namespace opweave
