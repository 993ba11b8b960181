/// The journal of a sweep that runs.
#pragma once

#include <filesystem>

#include "opweave/sweep.h"

namespace opweave {

/// Finished points, each on the disk before it counts. One process at a time writes to a file.
class SweepFile {
 public:
  /// Takes what the file holds, and cuts off a line without end; an empty path keeps all in memory.
  /// \throws InputError if there are more points than are allowed, the file belongs to another question, another
  /// process writes it, or nobody can
  SweepFile(const SweepQuestion& question, const std::filesystem::path& path);
  SweepFile(const SweepFile&) = delete;
  SweepFile& operator=(const SweepFile&) = delete;
  ~SweepFile();

  void append(const SweepRow& row);
  [[nodiscard]] const SweepJournal& journal() const { return journal_; }
  /// Points of a shard that are not there yet, ascending.
  [[nodiscard]] std::vector<std::size_t> open_points(std::size_t shard, std::size_t shards) const;

 private:
  void take_what_is_there();
  void append_line(const std::string& line) const;
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  SweepJournal journal_;
};

}  // namespace opweave
