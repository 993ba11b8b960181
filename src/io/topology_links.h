/// Speeds of the links inside a machine, as NCCL assumes them where nobody measured.
#pragma once

#include <cstdint>

#include "opweave/quantity.h"

namespace opweave::io {

// Bytes per second in one direction: NCCL 2.27, src/graph/topo.h and topo.cc.
inline constexpr std::int64_t kNvlinkSm60 = 18'000'000'000;
inline constexpr std::int64_t kNvlinkSm80 = 20'000'000'000;  ///< Volta and Ampere with HBM
inline constexpr std::int64_t kNvlinkSm86 = 12'000'000'000;
inline constexpr std::int64_t kNvlinkSm90 = 20'600'000'000;
inline constexpr std::int64_t kNvlinkSm100 = 40'100'000'000;
/// Per lane of PCIe and GT/s: 16 lanes of 8 GT/s carry 12 GB/s.
inline constexpr double kPcieBytesPerLaneAndTransfer = 12e9 / 16 / 8;
inline constexpr std::int64_t kPcieGeneration4 = 24'000'000'000;  ///< 16 lanes of 16 GT/s
// Between processors.
inline constexpr std::int64_t kSocketAmd = 16'000'000'000;
inline constexpr std::int64_t kSocketBroadwell = 6'000'000'000;
inline constexpr std::int64_t kSocketSkylake = 10'000'000'000;
inline constexpr std::int64_t kSocketSapphireRapids = 22'000'000'000;
inline constexpr std::int64_t kSocketEmeraldRapids = 40'000'000'000;
inline constexpr std::int64_t kSocketPower9 = 32'000'000'000;
inline constexpr std::int64_t kSocketArm = 6'000'000'000;

// Latencies: NCCL 2.27, src/graph/tuning.cc (0.6 us over NVLink, 1.0 us over PCIe), shared among the links of the
// shortest way of their kind.
inline constexpr Duration kNvlinkLatency{600};
inline constexpr Duration kNvswitchPortLatency{300};
inline constexpr Duration kPcieLatency{500};

}  // namespace opweave::io
