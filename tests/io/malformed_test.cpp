#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "io/text_of_any_kind.h"
#include "opweave/error.h"
#include "support/files.h"

namespace opweave::testing {
namespace {

namespace fs = std::filesystem;

/// What the command line would print for a file, without "error: ".
std::string report_on(const fs::path& path, const fs::path& corpus, const PlanContext& context) {
  const std::string source = fs::relative(path, corpus).string();
  const TextKind kind = kind_of_folder(path.parent_path().filename().string());
  try {
    (void)read_and_write(kind, content_of(path), source, context);
  } catch (const InputError& error) {
    const std::string hint = error.hint().empty() ? "" : "hint: " + error.hint() + "\n";
    return error.what() + std::string("\n") + hint;
  }
  return source + ": accepted\n";
}

/// Each file of the corpus has one defect, which its name tells; expected_errors.txt has the reviewed answers.
TEST(Malformed, every_file_gets_the_error_that_was_reviewed) {
  const fs::path corpus = tests_dir() / "malformed";
  const PlanContext context;
  std::string actual;
  std::size_t count = 0;
  for (const fs::path& path : files_below(corpus)) {
    if (path.parent_path() == corpus) continue;  // the table itself
    const std::string report = report_on(path, corpus, context);
    EXPECT_EQ(report.find(": accepted\n"), std::string::npos) << report;
    actual += report;
    ++count;
  }
  EXPECT_GE(count, 250U);
  EXPECT_EQ(actual, golden(corpus / "expected_errors.txt", actual));
}

TEST(Malformed, errors_are_single_lines_that_begin_with_the_file) {
  const fs::path corpus = tests_dir() / "malformed";
  const PlanContext context;
  for (const fs::path& path : files_below(corpus)) {
    if (path.parent_path() == corpus) continue;
    const std::string report = report_on(path, corpus, context);
    const std::string line = report.substr(0, report.find('\n'));
    EXPECT_EQ(line.rfind(fs::relative(path, corpus).string() + ": ", 0), 0U) << line;
    EXPECT_EQ(std::count_if(line.begin(), line.end(), [](char c) { return c >= 0 && c < 0x20; }), 0) << line;
    EXPECT_LT(line.size(), 1100U) << line;
    EXPECT_NE(line.back(), '.') << line;
  }
}

}  // namespace
}  // namespace opweave::testing
