/// How a value that the backward pass needs outlasts the forward pass.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace opweave {

/// What becomes of a value of the forward pass between its last reader there and its first reader behind it.
enum class MemoryMode : std::uint8_t {
  kKeep,  ///< it stays in the memory of the device
  kDrop,  ///< it goes, and its unit runs again to make it again
  kHost,  ///< it is copied to the host of the device and back
};
/// "keep", "drop", "host".
[[nodiscard]] std::string_view to_string(MemoryMode mode);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<MemoryMode> memory_mode_from_string(std::string_view text);

/// The modes that a value may have beside kKeep, which every value may have.
struct MemoryModes {
  bool drop = false;
  bool host = false;

  [[nodiscard]] bool any() const { return drop || host; }
  [[nodiscard]] bool allows(MemoryMode mode) const {
    return mode == MemoryMode::kKeep || (mode == MemoryMode::kDrop ? drop : host);
  }
  bool operator==(const MemoryModes&) const = default;
};

/// What a plan runs beside its tasks and transfers: what brings a value back that did not stay, and what sums
/// gradients.
enum class MovementKind : std::uint8_t {
  kRecompute,  ///< an operator of a unit runs again, on the streams that it holds
  kCopyOut,    ///< from devices to their hosts, on stream "d2h" of each
  kCopyIn,     ///< from hosts to their devices, on stream "h2d" of each
  kAllReduce,  ///< gradients of a parameter over all devices that keep it, on the stream of Training
};
/// kCopyOut or kCopyIn.
[[nodiscard]] constexpr bool is_copy(MovementKind kind) {
  return kind == MovementKind::kCopyOut || kind == MovementKind::kCopyIn;
}
/// "recompute", "copy_out", "copy_in", "all_reduce".
[[nodiscard]] std::string_view to_string(MovementKind kind);
/// Inverse of to_string; nothing for any other text.
[[nodiscard]] std::optional<MovementKind> movement_kind_from_string(std::string_view text);

/// Streams of the copies between a device and its host.
inline constexpr std::string_view kCopyOutStream = "d2h";
inline constexpr std::string_view kCopyInStream = "h2d";

}  // namespace opweave
