/// Checks that need another program are Python scripts beside the tests: run here, skipped where it is absent.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/source_dir.h"

namespace opweave::testing {

/// A folder that is removed at the end, unless OPWEAVE_KEEP_PAGES is set.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& purpose)
      : path_(std::filesystem::temp_directory_path() / ("opweave-" + purpose + "-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    if (std::getenv("OPWEAVE_KEEP_PAGES") == nullptr) std::filesystem::remove_all(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

/// Runs tests/report/<script>. It exits with 0 for success and with 77, after a line that says why, to skip.
/// \pre no argument contains a single quote.
inline void run_python_check(const std::string& script, const std::vector<std::string>& arguments) {
  std::string command = "python3 '" + source_dir().string() + "/tests/report/" + script + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  const int status = std::system(command.c_str());
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == 127) GTEST_SKIP() << "python3 is not installed";
  if (code == 77) GTEST_SKIP() << "skipped by " << script;
  EXPECT_EQ(code, 0) << command;
}

}  // namespace opweave::testing
