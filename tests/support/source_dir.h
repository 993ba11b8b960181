/// Where the sources of the tests lie.
#pragma once

#include <filesystem>

namespace opweave::testing {

/// The root of the source tree. Known to one file alone, so that compiled tests are the same wherever the tree lies.
[[nodiscard]] std::filesystem::path source_dir();

}  // namespace opweave::testing
