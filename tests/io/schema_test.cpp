#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "support/files.h"

namespace opweave::testing {
namespace {

TEST(Schemas, accept_the_golden_files_and_reject_the_malformed_ones) {
  constexpr int kModuleMissing = 77;
  constexpr int kCommandMissing = 127;
  const std::string script = (tests_dir() / "io/check_schemas.py").string();
  const int status = std::system(("python3 '" + script + "'").c_str());
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kModuleMissing || WEXITSTATUS(status) == kCommandMissing) {
    GTEST_SKIP() << "python3 with the module jsonschema is not installed";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace opweave::testing
