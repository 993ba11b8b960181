#include "simulate/turns.h"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "opweave/error.h"

namespace opweave::simulation {
namespace {

constexpr std::uint32_t kNoMessage = static_cast<std::uint32_t>(-1);

}  // namespace

std::optional<DeviceId> sender(const Problem& problem, std::span<const DeviceId> made_on, ValueId value,
                               DeviceId destination) {
  std::optional<DeviceId> found;
  std::optional<Duration> shortest;
  for (const DeviceId device : made_on) {
    const std::optional<Duration> time = problem.transfer_time(value, device, destination);
    if (!time || (shortest && *time >= *shortest)) continue;
    found = device;
    shortest = time;
  }
  return found;
}

Turns::Turns(const Problem& problem, const MessageTurns& turns, ChannelModel model)
    : turns_(turns),
      model_(model),
      next_turn_(turns.size()),
      ended_(problem.task_count()),
      devices_of_task_(problem.task_count()),
      message_of_turn_(turns.size()) {
  if (turns.size() != problem.cluster().device_count()) {
    throw InputError(fmt::format("turns of {} devices, expected {}", turns.size(), problem.cluster().device_count()));
  }
  std::map<std::tuple<std::size_t, std::uint32_t, bool>, std::uint32_t> queue_numbers;  // by device, peer, direction
  std::vector<int> ends;                                                                // of each message, so far
  for (std::size_t device = 0; device < turns.size(); ++device) {
    for (const Turn& turn : turns[device]) {
      if (turn.kind == Turn::Kind::kTask) {
        devices_of_task_[turn.task.index()].push_back(device);
        message_of_turn_[device].push_back(kNoMessage);
        continue;
      }
      const bool sends = turn.kind == Turn::Kind::kSend;
      const auto key = std::pair(turn.value, sends ? turn.peer : DeviceId(device));
      const auto [place, is_new] = number_.try_emplace(key, static_cast<std::uint32_t>(messages_.size()));
      if (is_new) {
        messages_.emplace_back();
        ends.push_back(0);
      }
      const int bit = sends ? 1 : 2;
      if ((ends[place->second] & bit) != 0) throw InputError("turns name one end of a message twice");
      ends[place->second] |= bit;
      const auto peer = model.queue == ChannelQueue::kRank ? 0U : static_cast<std::uint32_t>(turn.peer.index());
      const bool direction = model.queue == ChannelQueue::kDirection && sends;
      const auto [queue, is_new_queue] =
          queue_numbers.try_emplace({device, peer, direction}, static_cast<std::uint32_t>(queues_.size()));
      if (is_new_queue) queues_.emplace_back();
      End& end = sends ? messages_[place->second].send : messages_[place->second].receive;
      end = {queue->second, static_cast<std::uint32_t>(queues_[queue->second].size()), false};
      queues_[queue->second].push_back(place->second);
      message_of_turn_[device].push_back(place->second);
    }
  }
  for (const int both : ends) {
    if (both != 3) throw InputError("turns name one end of a message, expected both");
  }
  next_.resize(queues_.size());
  for (std::size_t device = 0; device < turns.size(); ++device) advance(device);
}

std::optional<std::uint32_t> Turns::find(ValueId value, DeviceId destination) const {
  const auto found = number_.find({value, destination});
  return found == number_.end() ? std::nullopt : std::optional(found->second);
}

void Turns::end_task(TaskId task) {
  ended_[task.index()] = true;
  for (const std::size_t device : devices_of_task_[task.index()]) advance(device);
}

void Turns::make(std::uint32_t message) {
  messages_[message].is_made = true;
  look_at(message);
}

void Turns::carry(std::uint32_t message) {
  messages_[message].is_carried = true;
  leave_queue(messages_[message].send);
  look_at(message);
}

void Turns::advance(std::size_t device) {
  std::size_t& next = next_turn_[device];
  while (next < turns_[device].size()) {
    const Turn& turn = turns_[device][next];
    if (turn.kind == Turn::Kind::kTask) {
      if (!ended_[turn.task.index()]) return;
      ++next;
      continue;
    }
    const std::uint32_t message = message_of_turn_[device][next++];
    (turn.kind == Turn::Kind::kSend ? messages_[message].send : messages_[message].receive).is_named = true;
    look_at(message);
  }
}

void Turns::look_at(std::uint32_t number) {
  Message& message = messages_[number];
  if (!message.has_begun && message.is_made && has_turn(message.send) &&
      (!model_.rendezvous || has_turn(message.receive))) {
    message.has_begun = true;
    begun_.push_back(number);
  }
  if (!message.is_received && message.is_carried && has_turn(message.receive)) {
    message.is_received = true;
    received_.push_back(number);
    leave_queue(message.receive);
  }
}

void Turns::leave_queue(const End& end) {
  const std::uint32_t position = ++next_[end.queue];
  const std::vector<std::uint32_t>& queue = queues_[end.queue];
  if (position < queue.size()) look_at(queue[position]);
}

std::vector<std::uint32_t> Turns::take_begun() { return std::exchange(begun_, {}); }
std::vector<std::uint32_t> Turns::take_received() { return std::exchange(received_, {}); }

}  // namespace opweave::simulation
