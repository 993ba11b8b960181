#include "planner/sweep_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {

SweepFile::SweepFile(const SweepQuestion& question, const std::filesystem::path& path)
    : path_(path), journal_{question.hash(), question.points(), {}} {
  if (journal_.points > kMostSweepPoints) {
    throw InputError(fmt::format("{} points, expected at most {}", journal_.points, kMostSweepPoints));
  }
  if (path.empty()) return;
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("cannot be written");
  // Two that append to one file would each do all points. File systems without locks are trusted.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(descriptor_);
    throw InputError(path.string() + ": another sweep is writing it");
  }
  try {
    take_what_is_there();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

SweepFile::~SweepFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SweepFile::take_what_is_there() {
  if (!std::filesystem::is_regular_file(path_)) return append_line(sweep_head(journal_.question, journal_.points));
  const std::string text = read_file(path_);
  SweepJournal there = parse_sweep(text, path_.string());
  if (!there.question.empty() && there.question != journal_.question) {
    throw InputError(path_.string() +
                         ": belongs to another question: model, clusters, batches, sequences, precision, "
                         "target, profiles or time limit differ",
                     "name another journal, or ask what this one was begun for");
  }
  const std::size_t whole = text.find_last_of('\n') + 1;  // 0 without any
  if (whole < text.size() && ::ftruncate(descriptor_, static_cast<off_t>(whole)) != 0) fail("cannot be cut");
  if (there.question.empty()) return append_line(sweep_head(journal_.question, journal_.points));
  journal_ = std::move(there);
}

void SweepFile::append(const SweepRow& row) {
  if (descriptor_ >= 0) append_line(sweep_line(row));
  journal_.rows.insert_or_assign(row.point, row);
}

void SweepFile::append_line(const std::string& line) const {
  const std::string text = line + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot be written");
    done += static_cast<std::size_t>(count);
  }
  if (::fsync(descriptor_) != 0 && errno != EINVAL) fail("cannot be written");  // a pipe cannot be synchronised
}

std::vector<std::size_t> SweepFile::open_points(std::size_t shard, std::size_t shards) const {
  std::vector<std::size_t> open;
  for (std::size_t point = shard; point < journal_.points; point += shards) {
    if (!journal_.rows.contains(point)) open.push_back(point);
  }
  return open;
}

void SweepFile::fail(const char* what) const {
  throw InputError(fmt::format("{}: {}: {}", path_.string(), what, std::generic_category().message(errno)));
}

}  // namespace opweave
