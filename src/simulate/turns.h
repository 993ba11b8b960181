/// Messages that take turns: which may begin, which have arrived.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "opweave/simulate.h"

namespace opweave::simulation {

/// Device of a gang that sends a value to a destination: the one with the shortest transfer, ties by id; nothing
/// without any route.
[[nodiscard]] std::optional<DeviceId> sender(const Problem& problem, std::span<const DeviceId> made_on, ValueId value,
                                             DeviceId destination);

/// Plays the turns of all devices. What changes is told by the functions below; what follows is taken from it.
class Turns {
 public:
  /// \throws InputError unless both ends of every message stand in `turns` once.
  Turns(const Problem& problem, const MessageTurns& turns, ChannelModel model);

  /// Number of the message that brings a value to a device; nothing if the turns have none.
  [[nodiscard]] std::optional<std::uint32_t> find(ValueId value, DeviceId destination) const;

  [[nodiscard]] bool is_received(std::uint32_t message) const { return messages_[message].is_received; }

  void end_task(TaskId task);
  /// The value exists.
  void make(std::uint32_t message);
  /// A message that began has been carried.
  void carry(std::uint32_t message);

  /// Messages whose transfer begins now, and those that their receiver has; each is given once.
  [[nodiscard]] std::vector<std::uint32_t> take_begun();
  [[nodiscard]] std::vector<std::uint32_t> take_received();

 private:
  /// One end of a message, with its place in its queue.
  struct End {
    std::uint32_t queue = 0;
    std::uint32_t position = 0;
    bool is_named = false;  ///< its device has come to it
  };
  struct Message {
    End send;
    End receive;
    bool is_made = false;
    bool has_begun = false;
    bool is_carried = false;
    bool is_received = false;
  };

  void advance(std::size_t device);
  [[nodiscard]] bool has_turn(const End& end) const { return end.is_named && next_[end.queue] == end.position; }
  /// Lets a message begin or be received, if it may.
  void look_at(std::uint32_t message);
  void leave_queue(const End& end);

  const MessageTurns& turns_;
  const ChannelModel model_;
  std::vector<std::size_t> next_turn_;  // by device
  std::vector<bool> ended_;             // by task
  std::vector<std::vector<std::size_t>> devices_of_task_;
  std::map<std::pair<ValueId, DeviceId>, std::uint32_t> number_;  // by value and destination
  std::vector<std::vector<std::uint32_t>> message_of_turn_;       // by device and turn
  std::vector<Message> messages_;
  std::vector<std::uint32_t> next_;                 // by queue: position of the first end that is not over
  std::vector<std::vector<std::uint32_t>> queues_;  // messages of every queue
  std::vector<std::uint32_t> begun_;
  std::vector<std::uint32_t> received_;
};

}  // namespace opweave::simulation
