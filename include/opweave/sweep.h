/// The best strategy over batch sizes, sequence lengths and clusters (docs/sweep.md).
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "opweave/calibration.h"
#include "opweave/strategy_search.h"

namespace opweave {

struct SweepRow;

/// All points are combinations of the lists, in their order: devices, nodes, batches, sequences.
struct SweepQuestion {
  ModelDescription model;
  std::vector<Machines> machines;  ///< nodes among them: one entry per device type and number of nodes
  std::vector<std::int64_t> global_batches;
  std::vector<std::int64_t> sequences;
  Precision precision = Precision::kBf16;
  Target target = Target::kAny;
  double seconds_per_point = 60;
  std::vector<FittedProfile> profiles = {};  ///< at most one per device type; other types have the built-in one

  /// Adds a profile of the user's. \throws InputError starting with `source` where its device type is none of the
  /// question's, or has one already, or its precision is another
  void add_profile(FittedProfile profile, const std::string& source);
  [[nodiscard]] std::size_t points() const { return machines.size() * global_batches.size() * sequences.size(); }
  [[nodiscard]] const Machines& machines_of(std::size_t point) const;
  /// The device type of a point, with what sets it apart where clusters of the question differ in more than nodes:
  /// "A100 (memory 40 GB)".
  [[nodiscard]] std::string cluster_name(std::size_t point) const;
  /// What the times of a point are predicted with.
  [[nodiscard]] CalibrationProfile profile_of(std::size_t point) const;
  /// A row that says what is asked, and nothing yet of the answer.
  [[nodiscard]] SweepRow asked(std::size_t point) const;
  /// Tells one question from another: 16 hexadecimal digits.
  [[nodiscard]] std::string hash() const;
};

/// A point with its answer.
struct SweepRow {
  std::size_t point = 0;  ///< in the order of SweepQuestion
  std::string device;     ///< SweepQuestion::cluster_name()
  std::uint32_t nodes = 1;
  std::uint64_t devices = 1;
  std::int64_t global_batch = 1;
  std::int64_t sequence = 1;
  std::string profile;  ///< name of the calibration profile; empty in a journal of a version that did not write it
  std::string failure;  ///< why there is no strategy; empty where there is one
  bool is_whole_space = true;
  Strategy strategy;
  Duration step;
  double tokens_per_second = 0;
  double mfu = 0;
  Bytes memory;
  bool operator==(const SweepRow&) const = default;

  [[nodiscard]] bool has_strategy() const { return failure.empty(); }
  /// Device-hours per million tokens.
  [[nodiscard]] double device_hours() const;
};

/// The answer of one point; nothing if the budget was stopped meanwhile. Deterministic but for the time limit.
[[nodiscard]] std::optional<SweepRow> answer_point(const SweepQuestion& question, std::size_t point,
                                                   const std::atomic<bool>* stop);

/// One line of JSON each, without its end; the first line of a journal names the question.
[[nodiscard]] std::string sweep_head(const std::string& question, std::size_t points);
[[nodiscard]] std::string sweep_line(const SweepRow& row);

/// Inverse of sweep_line(). \throws InputError naming the place and the value
[[nodiscard]] SweepRow parse_sweep_line(std::string_view line, const std::string& source);

/// Finished points as a file: a line each, on the disk before the next. What was killed goes on where it stood.
struct SweepJournal {
  std::string question;  ///< hash
  std::size_t points = 0;
  std::map<std::size_t, SweepRow> rows;
};
/// A last line without its end - of a process that was killed - is left out. \throws InputError naming line and value
[[nodiscard]] SweepJournal parse_sweep(std::string_view text, const std::string& source);
[[nodiscard]] std::string sweep_to_text(const SweepJournal& journal);
/// Journals of shards as one. \throws InputError if one has no head, or they belong to different questions
[[nodiscard]] SweepJournal merge_sweeps(const std::vector<std::filesystem::path>& journals);

/// More are refused before the first is answered: the table and the page show every one.
inline constexpr std::size_t kMostSweepPoints = 1'000'000;

/// Answers the points of shard `shard` of `shards` (point % shards == shard) that the journal lacks, `workers` at a
/// time. Every answer is appended to `path` before `on_row` is called, from one thread at a time; no path, no file.
/// \throws InputError if there are too many points, or the file belongs to another question or cannot be written
[[nodiscard]] SweepJournal run_sweep(const SweepQuestion& question, const std::filesystem::path& path,
                                     std::size_t shard, std::size_t shards, unsigned workers,
                                     const std::atomic<bool>* stop, const std::function<void(const SweepRow&)>& on_row);

/// For people, for programs, as a page with charts; `price` of a device-hour, 0 = in device-hours.
[[nodiscard]] std::string sweep_table(const SweepJournal& journal, double price);
[[nodiscard]] std::string sweep_csv(const SweepJournal& journal, double price);
[[nodiscard]] std::string sweep_html(const SweepJournal& journal, const std::string& title, double price);

}  // namespace opweave
