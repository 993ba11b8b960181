/// Where the benchmark suites of others lie, if they are there.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "support/source_dir.h"

namespace opweave::testing {

/// Folder named by OPWEAVE_DATA, or ../shared/data beside the repository; nothing if it does not exist.
inline std::optional<std::filesystem::path> data_dir() {
  const char* chosen = std::getenv("OPWEAVE_DATA");
  const std::filesystem::path path =
      chosen != nullptr ? std::filesystem::path(chosen) : source_dir() / "../shared/data";
  if (!std::filesystem::is_directory(path)) return std::nullopt;
  return path;
}

}  // namespace opweave::testing
