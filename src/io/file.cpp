#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "io/file_identity.h"
#include "io/message.h"
#include "opweave/io.h"

namespace opweave {
namespace {

namespace fs = std::filesystem;

/// "no such file or directory": as the system says it, in our case.
std::string reason(int error) {
  std::string text = std::generic_category().message(error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

[[noreturn]] void fail(const fs::path& path, std::string_view what, int error) {
  throw io::error_in(path.string(), fmt::format("{}: {}", what, reason(error)));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }
  /// Result of close(2), which may report what an earlier write did not.
  int close() { return ::close(std::exchange(number_, -1)); }

 private:
  int number_;
};

/// 0, or the error.
int write_all(int descriptor, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

/// Permissions of a file that is replaced, else what the process gives to new files.
mode_t permissions_for(const fs::path& path) {
  struct stat existing {};
  constexpr mode_t kPermissionBits = 07777;
  if (::stat(path.c_str(), &existing) == 0) return existing.st_mode & kPermissionBits;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

/// Deletes a temporary file unless it was moved to its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)), descriptor_(::mkstemp(path_.data())) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (is_open() && !is_moved_) ::unlink(path_.c_str());
  }

  [[nodiscard]] bool is_open() const { return is_open_; }
  /// 0, or the error.
  int fill(std::string_view content, mode_t permissions) {
    if (const int error = write_all(descriptor_.number(), content)) return error;
    if (::fchmod(descriptor_.number(), permissions) != 0) return errno;
    if (::fsync(descriptor_.number()) != 0) return errno;
    return descriptor_.close() == 0 ? 0 : errno;
  }
  int move_to(const fs::path& target) {
    if (::rename(path_.c_str(), target.c_str()) != 0) return errno;
    is_moved_ = true;
    return 0;
  }

 private:
  std::string path_;
  FileDescriptor descriptor_;
  bool is_open_ = descriptor_.is_open();
  bool is_moved_ = false;
};

/// Where a file of this name goes.
struct Destination {
  bool is_special = false;  // no regular file: cannot be replaced
  fs::path target;          // what a link leads to is replaced or created, not the link
  fs::path folder;

  /// \throws InputError for a folder
  explicit Destination(const fs::path& path) {
    struct stat status {};
    const bool exists = ::stat(path.c_str(), &status) == 0;
    if (!exists && errno == ELOOP) fail(path, "cannot be written", ELOOP);
    if (exists && S_ISDIR(status.st_mode)) fail(path, "cannot be written", EISDIR);
    is_special = exists && !S_ISREG(status.st_mode);
    target = io::behind_links(path);
    folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  }
  [[nodiscard]] std::string temporary_name() const {
    return (folder / ("." + target.filename().string() + ".XXXXXX")).string();
  }
};

/// Pipes and terminals ("/dev/stdout") cannot be replaced, only written to.
void write_to_special_file(const fs::path& path, std::string_view content) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.is_open()) fail(path, "cannot be written", errno);
  if (const int error = write_all(file.number(), content)) fail(path, "cannot be written", error);
  if (file.close() != 0) fail(path, "cannot be written", errno);
}

}  // namespace

std::string read_file(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) fail(path, "cannot be read", errno);
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail(path, "cannot be read", errno);
  if (S_ISDIR(status.st_mode)) fail(path, "cannot be read", EISDIR);
  // The size is a hint: a pipe has none, and a file may grow while it is read.
  constexpr std::size_t kChunk = std::size_t{1} << 16;
  const auto expected = static_cast<std::size_t>(status.st_size);
  // No file of ours is larger; nor does anybody type as much, so that a device which never ends is soon found out.
  const std::size_t most_bytes = S_ISCHR(status.st_mode) ? std::size_t{64} << 20 : std::size_t{2} << 30;
  const auto refuse = [&] {
    throw io::error_in(path.string(), fmt::format("has more than {} MiB, expected a smaller file", most_bytes >> 20));
  };
  if (expected > most_bytes) refuse();
  std::string content(expected + kChunk, '\0');
  std::size_t used = 0;
  for (;;) {
    const ssize_t count = ::read(file.number(), content.data() + used, content.size() - used);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path, "cannot be read", errno);
    if (count == 0) break;
    used += static_cast<std::size_t>(count);
    if (used < content.size()) continue;
    if (used > most_bytes) refuse();
    content.resize(std::min(2 * used, most_bytes + kChunk));
  }
  content.resize(used);
  return content;
}

void expect_writable(const fs::path& path) {
  const Destination destination(path);
  if (destination.is_special) {
    if (::access(path.c_str(), W_OK) != 0) fail(path, "cannot be written", errno);
  } else if (const TemporaryFile temporary(destination.temporary_name()); !temporary.is_open()) {
    fail(path, "cannot be written", errno);
  }
}

void write_file(const fs::path& path, std::string_view content) {
  const Destination destination(path);
  if (destination.is_special) {
    write_to_special_file(path, content);
    return;
  }
  TemporaryFile temporary(destination.temporary_name());
  if (!temporary.is_open()) fail(path, "cannot be written", errno);
  if (const int error = temporary.fill(content, permissions_for(destination.target)))
    fail(path, "cannot be written", error);
  if (const int error = temporary.move_to(destination.target)) fail(path, "cannot be written", error);
  // The rename itself lasts only once the folder is on the disk; some file systems cannot say.
  const FileDescriptor directory(::open(destination.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.is_open()) (void)::fsync(directory.number());
}

}  // namespace opweave
