/// What explaining and changing a strategy have in common.
#pragma once

#include "opweave/strategy_insight.h"

namespace opweave::explaining {

/// The best layout that keeps what is held, or why there is none.
[[nodiscard]] BestStrategy best_with(const StrategyRecord& record, const HeldDecisions& held, const Budget& budget);

}  // namespace opweave::explaining
