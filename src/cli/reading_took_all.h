/// What there is to say where a time limit ends before the files are read.
#pragma once

#include "cli/inputs.h"
#include "opweave/budget.h"

namespace opweave::cli {

/// On stderr. \pre the budget has a time limit
void say_that_reading_took_all(const Budget& budget, const InputFiles& files);

}  // namespace opweave::cli
