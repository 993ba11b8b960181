#include "support/source_dir.h"

namespace opweave::testing {

std::filesystem::path source_dir() { return OPWEAVE_SOURCE_DIR; }

}  // namespace opweave::testing
