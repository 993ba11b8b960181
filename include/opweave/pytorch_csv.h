/// Schedules in the CSV form of torch.distributed.pipelining: a row per rank, an action per cell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "opweave/channel_model.h"
#include "opweave/pipeline.h"
#include "opweave/quantity.h"

namespace opweave {

/// Actions alone, or with sends, receives and reductions of gradients.
enum class CsvDialect { kComputeOnly, kComputeComms };

/// A schedule, and what its reader should know about how it was read.
struct CsvReading {
  PipelineSchedule schedule;
  std::vector<std::string> remarks;  ///< one line each; empty for a file that needed no interpretation
};

/// Reads either dialect. Blanks around cells, quotes, a byte order mark, blank lines and empty cells at the end are
/// no part of a schedule. Letters of older versions of PyTorch (B for I, BW for B) are translated and remarked. A
/// schedule of forwards alone is one. Communication and memory actions are checked, then dropped: messages have both
/// ends, in one order, and do not wait in a circle under `channels` (with queue kNone: are there when they are needed).
/// \throws InputError with line, column and cell; with the circle.
[[nodiscard]] CsvReading read_pytorch_csv(std::string_view text, const std::string& source,
                                          ChannelModel channels = kInOrder);
/// The schedule alone.
[[nodiscard]] PipelineSchedule parse_pytorch_csv(std::string_view text, const std::string& source,
                                                 ChannelModel channels = kInOrder);

/// Ends of all actions, per device in the order of the schedule.
using ActionEnds = std::vector<std::vector<Duration>>;
/// The ends if everything starts as early as it can; a backward lasts as long as I and W, a pair as long as its parts.
/// \throws InputError if the schedule is no complete one, or circular.
[[nodiscard]] ActionEnds earliest_ends(const PipelineSchedule& schedule, Duration forward, Duration input_gradient,
                                       Duration weight_gradient, Duration transfer);

/// Both ends of a message stand where the action that makes it ends, by `ends` (none = all parts of actions last
/// equally long), the same moment for both, ties broken alike: then no messages wait in a circle, whatever the
/// transport (docs/messages.md).
/// \throws InputError where PyTorch cannot express the schedule (a stage on two ranks: two-way; no backward), or
///   `ends` does not have the sizes of the schedule.
[[nodiscard]] std::string to_pytorch_csv(const PipelineSchedule& schedule, CsvDialect dialect,
                                         const ActionEnds& ends = {});

}  // namespace opweave
