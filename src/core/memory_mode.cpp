#include "opweave/memory_mode.h"

#include "opweave/error.h"

namespace opweave {

std::string_view to_string(MemoryMode mode) {
  switch (mode) {
    case MemoryMode::kKeep:
      return "keep";
    case MemoryMode::kDrop:
      return "drop";
    case MemoryMode::kHost:
      return "host";
  }
  throw InternalError("unknown memory mode");
}

std::optional<MemoryMode> memory_mode_from_string(std::string_view text) {
  for (const MemoryMode mode : {MemoryMode::kKeep, MemoryMode::kDrop, MemoryMode::kHost}) {
    if (text == to_string(mode)) return mode;
  }
  return std::nullopt;
}

std::string_view to_string(MovementKind kind) {
  switch (kind) {
    case MovementKind::kRecompute:
      return "recompute";
    case MovementKind::kCopyOut:
      return "copy_out";
    case MovementKind::kCopyIn:
      return "copy_in";
    case MovementKind::kAllReduce:
      return "all_reduce";
  }
  throw InternalError("unknown kind of movement");
}

std::optional<MovementKind> movement_kind_from_string(std::string_view text) {
  for (const MovementKind kind :
       {MovementKind::kRecompute, MovementKind::kCopyOut, MovementKind::kCopyIn, MovementKind::kAllReduce}) {
    if (text == to_string(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace opweave
