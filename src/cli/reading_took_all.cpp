#include "cli/reading_took_all.h"

#include <fmt/format.h>

#include "cli/output.h"

namespace opweave::cli {

void say_that_reading_took_all(const Budget& budget, const InputFiles& files) {
  complain("error", fmt::format("no plan found (time limit {:g} s reached): reading {} and building its tasks took all "
                                "of the time",
                                *budget.time_limit_seconds(), files.graph.string()));
}

}  // namespace opweave::cli
