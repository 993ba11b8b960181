#include "opweave/sweep.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>

#include "opweave/error.h"
#include "opweave/io.h"
#include "planner/side_by_side.h"

namespace opweave {
namespace {

/// Appends whole lines, each on the disk before the call comes back.
class Appender {
 public:
  /// An empty path writes nothing.
  explicit Appender(const std::filesystem::path& path) : path_(path) {
    if (path.empty()) return;
    descriptor_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (descriptor_ < 0) fail();
  }
  Appender(const Appender&) = delete;
  Appender& operator=(const Appender&) = delete;
  ~Appender() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  void append(const std::string& line) {
    if (descriptor_ < 0) return;
    const std::string text = line + "\n";
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail();
      done += static_cast<std::size_t>(count);
    }
    if (::fsync(descriptor_) != 0 && errno != EINVAL) fail();  // a pipe cannot be synchronised
  }

 private:
  [[noreturn]] void fail() const {
    throw InputError(fmt::format("{}: cannot be written: {}", path_.string(), std::generic_category().message(errno)));
  }
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// What is there, rewritten without a line that was cut off.
SweepJournal open_journal(const SweepQuestion& question, const std::filesystem::path& path) {
  SweepJournal fresh{question.hash(), question.points(), {}};
  if (path.empty()) return fresh;
  if (std::filesystem::exists(path)) {
    SweepJournal journal = parse_sweep(read_file(path), path.string());
    if (!journal.question.empty()) {
      if (journal.question != fresh.question) {
        throw InputError(path.string() +
                             ": belongs to another question: model, clusters, batches, sequences, precision, "
                             "target or time limit differ",
                         "name another journal, or ask what this one was begun for");
      }
      fresh = std::move(journal);
    }
  }
  write_file(path, sweep_to_text(fresh));
  return fresh;
}

}  // namespace

std::string SweepQuestion::hash() const {
  std::string text = content_hash(model);
  for (const Machines& one : machines) {
    text += fmt::format("|{} {} {} {} {} {} {} {} {}", one.device.name, one.device.memory.value(),
                        one.device.bf16_flops, one.device.fp8_flops, one.device.memory_bandwidth,
                        one.device.node_bandwidth, one.nodes, one.devices_per_node, one.fabric_bandwidth);
  }
  text += fmt::format("|{}|{}|{}|{}|{}", fmt::join(global_batches, ","), fmt::join(sequences, ","),
                      to_string(precision), to_string(target), seconds_per_point);
  return text_hash(text);
}

double SweepRow::device_hours() const {
  if (tokens_per_second <= 0) return 0;
  return static_cast<double>(devices) / tokens_per_second * 1e6 / 3600;
}

std::optional<SweepRow> answer_point(const SweepQuestion& question, std::size_t point, const std::atomic<bool>* stop) {
  const std::size_t sequences = question.sequences.size();
  const std::size_t batches = question.global_batches.size();
  const Machines& machines = question.machines.at(point / (sequences * batches));
  const TrainingRun run{question.global_batches[point / sequences % batches], question.sequences[point % sequences],
                        question.precision};
  SweepRow row;
  row.point = point;
  row.device = machines.device.name;
  row.nodes = machines.nodes;
  row.devices = machines.devices();
  row.global_batch = run.global_batch;
  row.sequence = run.sequence;
  const bool has_experts =
      std::ranges::any_of(question.model.layers, [](const LayerRun& layer) { return layer.experts.has_value(); });
  const CalibrationProfile profile = profile_for(machines, run.precision, has_experts, question.target);
  Budget budget(question.seconds_per_point, std::nullopt);
  budget.watch(stop);
  try {
    const StrategySearchResult result =
        search_strategies(question.model, machines, run, profile, question.target, {}, 1, budget);
    if (budget.stopped()) return std::nullopt;
    if (result.ranked.empty()) {
      row.failure = result.least_memory ? "no strategy fits in memory" : "no strategy was valued within the time limit";
      return row;
    }
    const RankedStrategy& best = result.ranked.front();
    row.is_whole_space = result.is_complete;
    row.strategy = best.strategy;
    row.step = best.value.time.step;
    row.tokens_per_second = best.value.tokens_per_second;
    row.mfu = best.value.mfu;
    row.memory = best.value.memory.total();
  } catch (const InputError& error) {
    row.failure = error.what();
  }
  return row;
}

SweepJournal run_sweep(const SweepQuestion& question, const std::filesystem::path& path, std::size_t shard,
                       std::size_t shards, unsigned workers, const std::atomic<bool>* stop,
                       const std::function<void(const SweepRow&)>& on_row) {
  SweepJournal journal = open_journal(question, path);
  Appender file(path);
  std::vector<std::size_t> open;
  for (std::size_t point = shard; point < journal.points; point += shards) {
    if (!journal.rows.contains(point)) open.push_back(point);
  }
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  side_by_side(std::min<std::size_t>(workers, std::max<std::size_t>(1, open.size())), [&](std::size_t) {
    for (std::size_t i = next++; i < open.size(); i = next++) {
      if (stop != nullptr && stop->load()) return;
      const auto row = answer_point(question, open[i], stop);
      if (!row) return;
      const std::scoped_lock lock(mutex);
      file.append(sweep_line(*row));
      journal.rows.insert_or_assign(row->point, *row);
      if (on_row) on_row(*row);
    }
  });
  return journal;
}

}  // namespace opweave
