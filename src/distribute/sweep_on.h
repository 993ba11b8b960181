/// A sweep whose points are answered elsewhere.
#pragma once

#include <filesystem>
#include <functional>

#include "distribute/place.h"
#include "opweave/sweep.h"

namespace opweave::distribute {

/// As run_sweep(), with workers that are programs of their own: what ends one of them costs its point alone some time,
/// and a point that ends five of them is a row with the reason. `workers` = 0: as many as the place has cores.
[[nodiscard]] SweepJournal run_sweep_on(const Place& place, const SweepQuestion& question,
                                        const std::filesystem::path& path, std::size_t shard, std::size_t shards,
                                        std::size_t workers, const std::atomic<bool>* stop,
                                        const std::function<void(const SweepRow&)>& on_row);

}  // namespace opweave::distribute
