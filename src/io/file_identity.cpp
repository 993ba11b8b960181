#include "io/file_identity.h"

#include <sys/stat.h>

#include <system_error>

namespace opweave::io {
namespace {

namespace fs = std::filesystem;

/// Of a file that does not exist: its folder without links, and its name there.
fs::path place(const fs::path& path) {
  std::error_code ignored;
  const fs::path end = behind_links(path);
  const fs::path folder = fs::weakly_canonical(end.has_parent_path() ? end.parent_path() : fs::path("."), ignored);
  return folder / end.filename();
}

}  // namespace

fs::path behind_links(const fs::path& path) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  fs::path end = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code error;
    const fs::path next = fs::read_symlink(end, error);
    if (error) return end;
    end = next.is_absolute() ? next : end.parent_path() / next;
  }
  return path;
}

bool same_file(const fs::path& a, const fs::path& b) {
  struct stat of_a {};
  struct stat of_b {};
  const bool has_a = ::stat(a.c_str(), &of_a) == 0;
  const bool has_b = ::stat(b.c_str(), &of_b) == 0;
  if (has_a != has_b) return false;
  if (has_a) return S_ISREG(of_a.st_mode) && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
  return place(a) == place(b);
}

}  // namespace opweave::io
