#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "opweave/error.h"
#include "opweave/io.h"
#include "support/files.h"

namespace opweave::testing {
namespace {

namespace fs = std::filesystem;

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "opweave-file-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  template <class Action>
  static std::string error_of(Action&& action) {
    try {
      action();
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(File, what_is_written_is_read) {
  const std::string content = std::string("a\0b\n", 4) + std::string(300'000, 'x');
  write_file(folder_ / "f", content);
  EXPECT_EQ(read_file(folder_ / "f"), content);
  write_file(folder_ / "f", "");
  EXPECT_EQ(read_file(folder_ / "f"), "");
  EXPECT_EQ(entries(), 1U);  // no temporary file is left
}

TEST_F(File, reading_what_cannot_be_read_names_it_and_the_reason) {
  EXPECT_EQ(error_of([&] { (void)read_file(folder_ / "none.json"); }),
            (folder_ / "none.json").string() + ": cannot be read: no such file or directory");
  EXPECT_EQ(error_of([&] { (void)read_file(folder_); }), folder_.string() + ": cannot be read: is a directory");
  EXPECT_EQ(error_of([&] { (void)read_file("a\nb"); }), "a\\nb: cannot be read: no such file or directory");
}

TEST_F(File, writing_where_it_cannot_be_names_it_and_the_reason) {
  EXPECT_EQ(error_of([&] { write_file(folder_, "x"); }), folder_.string() + ": cannot be written: is a directory");
  EXPECT_EQ(error_of([&] { write_file(folder_ / "none/f", "x"); }),
            (folder_ / "none/f").string() + ": cannot be written: no such file or directory");
}

/// The disk is full, as far as this process can tell.
TEST_F(File, asking_beforehand_gives_the_error_of_writing_and_changes_nothing) {
  write_file(folder_ / "old", "content");
  for (const fs::path& good : {folder_ / "old", folder_ / "new", fs::path("/dev/null")}) {
    EXPECT_EQ(error_of([&] { expect_writable(good); }), "no error") << good;
  }
  for (const fs::path& bad : {folder_, folder_ / "missing" / "f", folder_ / "old" / "f"}) {
    const std::string error = error_of([&] { expect_writable(bad); });
    EXPECT_NE(error, "no error") << bad;
    EXPECT_EQ(error, error_of([&] { write_file(bad, ""); }));
  }
  EXPECT_EQ(entries(), 1U);
  EXPECT_EQ(read_file(folder_ / "old"), "content");
}

TEST_F(File, failed_write_keeps_the_old_file_and_leaves_nothing_behind) {
  write_file(folder_ / "f", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_file(folder_ / "f", std::string(100'000, 'n')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(error, (folder_ / "f").string() + ": cannot be written: file too large");
  EXPECT_EQ(content_of(folder_ / "f"), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(File, replaced_file_keeps_its_permissions_and_links_to_it_stay) {
  write_file(folder_ / "f", "old");
  ASSERT_EQ(::chmod((folder_ / "f").c_str(), 0640), 0);
  fs::create_symlink("f", folder_ / "link");
  write_file(folder_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(content_of(folder_ / "f"), "new");
  EXPECT_EQ(fs::status(folder_ / "f").permissions(),
            fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read);
}

TEST_F(File, pipes_are_read_and_written) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string content(200'000, 'p');
  std::thread writer([&] { write_file(pipe, content); });
  EXPECT_EQ(read_file(pipe), content);
  writer.join();
}

/// A reader that looks at any moment sees one of the two contents, whole.
TEST_F(File, replacing_is_one_step) {
  const std::string a(50'000, 'a');
  const std::string b(70'000, 'b');
  write_file(folder_ / "f", a);
  std::thread writer([&] {
    for (int i = 0; i < 50; ++i) write_file(folder_ / "f", i % 2 == 0 ? b : a);
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = content_of(folder_ / "f");
    EXPECT_TRUE(seen == a || seen == b) << seen.size();
  }
  writer.join();
}

}  // namespace
}  // namespace opweave::testing
