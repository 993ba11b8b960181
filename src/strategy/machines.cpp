// Types of devices by their data sheets, and the links of the nodes that they are sold in.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "opweave/error.h"
#include "opweave/strategy.h"

namespace opweave {
namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;
constexpr std::int64_t kGB = 1'000'000'000;
/// Share of a network's rate that collectives reach.
constexpr double kFabricShare = 0.85;

/// Flops, memory and bandwidth: NVIDIA data sheets (dense rates). Bandwidth inside a node: all-reduce as measured on 8
/// devices (A100 235 GB/s, H200 with in-switch reduction 482, without 380; S. Bekman, "Machine Learning Engineering",
/// network chapter); H800 has 400 of the 900 GB/s of an H100's links. Network: one adapter per device, 200, 400 or 800
/// Gbit/s. To the host: what copies reach of PCIe 4 and 5 with 16 lanes (32 and 64 GB/s), and of a Grace processor's
/// links among its two devices (450 GB/s each way); memory of the hosts of NVIDIA's own systems (1 TB beside 8 A100, 2
/// TB beside 8 of the others, 480 GB beside 2 of a rack).
std::vector<Machines> make_known() {
  const auto eight = [](Accelerator device, double network_gbit) {
    return Machines{std::move(device), 1, 8, network_gbit / 8 * kGiga * kFabricShare};
  };
  return {
      eight({"A100", Bytes(80 * kGB), 312 * kTera, 312 * kTera, 2.0 * kTera, 235 * kGiga, 25 * kGiga, Bytes(128 * kGB)},
            200),
      eight(
          {"H100", Bytes(80 * kGB), 989 * kTera, 1979 * kTera, 3.35 * kTera, 380 * kGiga, 50 * kGiga, Bytes(256 * kGB)},
          400),
      eight(
          {"H800", Bytes(80 * kGB), 989 * kTera, 1979 * kTera, 3.35 * kTera, 160 * kGiga, 50 * kGiga, Bytes(256 * kGB)},
          400),
      eight(
          {"H200", Bytes(141 * kGB), 989 * kTera, 1979 * kTera, 4.8 * kTera, 380 * kGiga, 50 * kGiga, Bytes(256 * kGB)},
          400),
      eight({"B200", Bytes(180 * kGB), 2250 * kTera, 4500 * kTera, 8.0 * kTera, 700 * kGiga, 50 * kGiga,
             Bytes(256 * kGB)},
            400),
      // 72 devices share one switch; a node of 4 is what is sold, what counts is the switch.
      Machines{{"GB200", Bytes(186 * kGB), 2500 * kTera, 5000 * kTera, 8.0 * kTera, 700 * kGiga, 180 * kGiga,
                Bytes(240 * kGB)},
               1,
               72,
               50 * kGiga * kFabricShare},
      Machines{{"GB300", Bytes(279 * kGB), 2500 * kTera, 5000 * kTera, 8.0 * kTera, 700 * kGiga, 180 * kGiga,
                Bytes(240 * kGB)},
               1,
               72,
               100 * kGiga * kFabricShare},
  };
}

std::string upper(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return result;
}

}  // namespace

const std::vector<Machines>& known_machines() {
  static const std::vector<Machines> known = make_known();
  return known;
}

Machines machines_named(std::string_view name) {
  std::string names;
  for (const Machines& machines : known_machines()) {
    if (machines.device.name == upper(name)) return machines;
    names += (names.empty() ? "" : ", ") + machines.device.name;
  }
  throw InputError(fmt::format("device type \"{}\" is unknown, expected one of {}", name, names),
                   "a file NAME.json (opweave.machines) can begin with one of these and say what differs");
}

}  // namespace opweave
