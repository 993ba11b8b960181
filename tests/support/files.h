/// Files of the repository that tests read, and regenerate on demand.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "support/source_dir.h"

namespace opweave::testing {

/// The folder tests/ of the source tree.
inline std::filesystem::path tests_dir() { return source_dir() / "tests"; }

/// Whole content; not the library's reader, which is itself under test.
inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Files below a folder, in order of their names.
inline std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Content of a golden file. With OPWEAVE_UPDATE_GOLDEN set, `actual` becomes its content first, to be reviewed as
/// text.
inline std::string golden(const std::filesystem::path& path, std::string_view actual) {
  if (std::getenv("OPWEAVE_UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << actual;
  return content_of(path);
}

}  // namespace opweave::testing
