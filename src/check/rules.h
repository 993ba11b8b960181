/// One function per rule of docs/validation.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "check/reading.h"
#include "check/routes.h"
#include "check/violation_list.h"

namespace opweave::checking {

/// How an operator runs on a given set of devices: the part of a mode that the rules need.
struct AllowedMode {
  Duration duration;
  Bytes workspace;
};
/// The mode of the run's operator on the run's devices, whatever rule 6 says of them. Where there is
/// none and `why_not` is given, it receives the reason.
[[nodiscard]] std::optional<AllowedMode> mode_of(const Reading& reading, const Run& run, std::string* why_not);

/// A piece of a device's memory, taken during [from, until).
struct Hold {
  DeviceId device;
  Duration from;
  Duration until;
  Bytes size;
};

/// What a device's memory holds at its fullest.
struct MemoryUse {
  Wide peak = 0;
  Wide persistent = 0;
};

/// Rule 1. \return workspaces of the runs.
[[nodiscard]] std::vector<Hold> check_once(const Reading& reading, ViolationList& violations);
/// Rule 2.
void check_streams(const Reading& reading, ViolationList& violations);
/// Rule 3. \return where and how long each tensor is live.
[[nodiscard]] std::vector<Hold> check_presence(const Reading& reading, ViolationList& violations);
/// Rule 4.
void check_transfers(const Reading& reading, const Routes& routes, ViolationList& violations);
/// Modes of values, what runs again, copies to and from hosts: rules "modes", "recompute" and "copy".
void check_modes(const Reading& reading, ViolationList& violations);
/// Rule "host-memory". \return peak of the host of each device.
[[nodiscard]] std::vector<Wide> check_host_memory(const Reading& reading, ViolationList& violations);
/// Gradients of replicas: rule "reduction".
void check_reductions(const Reading& reading, ViolationList& violations);
/// Rule 5. \return by device.
[[nodiscard]] std::vector<MemoryUse> check_memory(const Reading& reading, const std::vector<Hold>& holds,
                                                  ViolationList& violations);
/// Rule 6.
void check_placement(const Reading& reading, ViolationList& violations);
/// The plan's statements about itself.
void check_figures(const Reading& reading, const Routes& routes, const std::vector<MemoryUse>& memory,
                   const std::vector<Wide>& host_peaks, ViolationList& violations);

/// Pieces of blocks, where the plan's settings ask for them.
void check_blocks(const Reading& reading, ViolationList& violations);

/// Each pair of a parameter and a device on which an operator runs that reads it, once, by parameter.
struct Home {
  ParameterId parameter;
  DeviceId device;
  auto operator<=>(const Home&) const = default;
};
[[nodiscard]] std::vector<Home> homes(const Reading& reading);

}  // namespace opweave::checking
