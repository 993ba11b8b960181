/// How a transport lines up the messages between devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace opweave {

/// Which messages a transport takes one after the other, in the order in which a device names them. In a queue
/// nothing overtakes: a receive that waits for its sender holds up everything behind it.
enum class ChannelQueue : std::uint8_t {
  kNone,       ///< messages overtake each other freely
  kRank,       ///< one queue per device, for all its sends and receives
  kPair,       ///< one per device and peer
  kDirection,  ///< one per device and peer for sends, another for receives
};

/// Queues, and when a send is over. What ends under one queue per rank and rendezvous ends under every other model:
/// each other one asks for less (docs/messages.md).
struct ChannelModel {
  ChannelQueue queue = ChannelQueue::kNone;
  /// A send ends with its receive (NCCL with large messages); else as soon as it has been carried to a buffer.
  bool rendezvous = false;
  bool operator==(const ChannelModel&) const = default;
};

/// The most demanding model.
inline constexpr ChannelModel kInOrder{ChannelQueue::kRank, true};
/// The six models with queues.
inline constexpr ChannelModel kChannelModels[] = {kInOrder,
                                                  {ChannelQueue::kPair, true},
                                                  {ChannelQueue::kDirection, true},
                                                  {ChannelQueue::kRank, false},
                                                  {ChannelQueue::kPair, false},
                                                  {ChannelQueue::kDirection, false}};

/// "free", "rendezvous-rank", "rendezvous-pair", "rendezvous-direction", "buffered-rank", ...
[[nodiscard]] std::string to_string(ChannelModel model);
/// Inverse of to_string, and "in-order" for kInOrder; nothing for any other text.
[[nodiscard]] std::optional<ChannelModel> channel_model_from_string(std::string_view text);

}  // namespace opweave
