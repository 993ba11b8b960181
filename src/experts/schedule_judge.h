/// How long a pipeline schedule takes with the stages of a cut.
#pragma once

#include "opweave/cut.h"
#include "opweave/experts.h"

namespace opweave::detail {

/// Every action starts as early as the order allows; I, B and W take their stages' times, a pair as long as its forward
/// and its backward one after the other. What a judge looks at is taken over from the arguments.
/// \pre the schedule runs to its end; its stages are those of the rounds.
[[nodiscard]] CutJudge schedule_judge(const LayerRow& layers, const StageRounds& rounds,
                                      const PipelineSchedule& schedule);

}  // namespace opweave::detail
