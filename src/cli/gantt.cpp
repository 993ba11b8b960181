#include "cli/gantt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

__extension__ using Wide = __int128;  // time x columns

/// 256-colour codes of the phases, as in the report: none, F, I, W, B, O.
constexpr std::array kPhaseColours = {245, 33, 37, 70, 208, 141};
constexpr std::array kCopyColours = {33, 208, 70, 141, 37, 203, 178, 105, 29, 167};

constexpr const char* kMemory = "memory";  // label of a line

/// What a cell of the picture stands for: a phase, or a microbatch.
struct Group {
  char letter = ' ';
  int colour = 0;
  auto operator<=>(const Group&) const = default;
};

class Picture {
 public:
  Picture(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
          const std::vector<MemoryLane>& memory, const Terminal& terminal)
      : graph_(graph), cluster_(cluster), plan_(plan), memory_(memory), terminal_(terminal) {
    has_phases_ = std::ranges::any_of(graph.operators(), [](const Operator& op) {
      return op.phase != Phase::kNone && op.phase != Phase::kOptimizer;
    });
    std::size_t streams = memory.empty() ? 0 : std::string_view(kMemory).size();
    std::vector<std::string> names;
    for (const Device& device : cluster.devices()) {
      names.push_back(device.name);
      for (const std::string& stream : device.streams) streams = std::max(streams, width_of(readable(stream)));
    }
    constexpr std::size_t kShare = 3;          // of the terminal, for names that have a common beginning to leave out
    constexpr std::size_t kLeastColumns = 20;  // even beside the longest names
    const std::size_t room = terminal.columns / kShare;
    names_ = short_names(names, room - std::min(room, streams + 2));
    for (const std::string& name : names_.names) gutter_ = std::max(gutter_, width_of(name) + streams + 2);
    columns_ = std::max(kLeastColumns, terminal.columns - std::min(terminal.columns, gutter_ + 1));
    makespan_ = std::max<std::int64_t>(1, plan.statistics.makespan.value());
  }

  std::string draw() {
    fill_lanes();
    std::string text;
    for (std::size_t d = 0; d < cluster_.device_count(); ++d) {
      bool is_first = true;
      for (const std::string& stream : cluster_.devices()[d].streams) {
        const auto lane = lanes_.find({d, stream});
        // A stream on which the plan runs nothing needs no line, unless it is the only one.
        if (lane == lanes_.end() && stream != "compute") continue;
        text += label(is_first ? names_.names[d] : "", readable(stream));
        text += lane == lanes_.end() ? std::string(columns_, idle()) : line(lane->second);
        text += '\n';
        is_first = false;
      }
      if (d < memory_.size()) text += label("", kMemory) + memory_line(memory_[d]) + '\n';
    }
    return text + axis() + legend();
  }

 private:
  using Column = std::map<Group, std::int64_t>;  // busy nanoseconds
  using Lane = std::vector<Column>;

  [[nodiscard]] Group group_of(const PlannedTask& task) const {
    if (!has_phases_ && plan_.settings.training.microbatches == 1) {
      const std::string& name = graph_.at(task.op).name;
      const auto letter = std::ranges::find_if(name, [](unsigned char c) { return std::isalnum(c) != 0; });
      return {letter == name.end() ? '#' : static_cast<char>(std::toupper(static_cast<unsigned char>(*letter))),
              kCopyColours[task.op.index() % kCopyColours.size()]};
    }
    if (!has_phases_) {
      return {static_cast<char>('0' + task.copy % 10), kCopyColours[task.copy % kCopyColours.size()]};
    }
    const Phase phase = graph_.at(task.op).phase;
    const auto letter = to_string(phase);
    return {letter.empty() ? '#' : letter[0], kPhaseColours[static_cast<std::size_t>(phase)]};
  }

  /// Beginning of a column's slice; the slices share the makespan as evenly as whole nanoseconds allow.
  [[nodiscard]] std::int64_t begin(std::size_t column) const {
    return static_cast<std::int64_t>(static_cast<Wide>(makespan_) * static_cast<std::int64_t>(column) /
                                     static_cast<std::int64_t>(columns_));
  }
  [[nodiscard]] std::size_t column_of(std::int64_t time) const {
    auto column = static_cast<std::size_t>(static_cast<Wide>(time) * static_cast<std::int64_t>(columns_) / makespan_);
    while (column + 1 < columns_ && begin(column + 1) <= time) ++column;
    return std::min(column, columns_ - 1);
  }

  void fill_lanes() {
    for (const PlannedTask& task : plan_.tasks) {
      const std::int64_t start = task.start.value();
      const std::int64_t end = task.end.value();
      if (start == end) continue;
      const Group group = group_of(task);
      for (const DeviceId device : task.devices) {
        for (const std::string& stream : graph_.at(task.op).streams) {
          Lane& lane = lanes_.try_emplace({device.index(), stream}, columns_).first->second;
          for (std::size_t c = column_of(start); c < columns_ && begin(c) < end; ++c) {
            lane[c][group] += std::min(end, begin(c + 1)) - std::max(start, begin(c));
          }
        }
      }
    }
  }

  [[nodiscard]] std::string label(const std::string& device, const std::string& what) const {
    const std::size_t room = gutter_ - width_of(what) - 1;
    return padded(device, room) + ' ' + what + (terminal_.unicode ? "│" : "|");
  }

  [[nodiscard]] char idle() const { return terminal_.unicode ? ' ' : '.'; }

  [[nodiscard]] std::string line(const Lane& lane) const {
    std::string text;
    for (std::size_t c = 0; c < columns_; ++c) {
      const std::int64_t width = begin(c + 1) - begin(c);
      std::int64_t busy = 0;
      const Group* longest = nullptr;
      std::int64_t most = 0;
      for (const auto& [group, time] : lane[c]) {
        busy += time;
        if (time > most) {
          most = time;
          longest = &group;
        }
      }
      if (longest == nullptr) {
        text += idle();
        continue;
      }
      const bool sparse = 2 * busy < width;
      const char letter =
          sparse ? static_cast<char>(std::tolower(static_cast<unsigned char>(longest->letter))) : longest->letter;
      if (!terminal_.colour) {
        text += letter;
      } else if (sparse) {
        text += fmt::format("\x1b[38;5;{}m{}\x1b[0m", longest->colour, letter);
      } else {
        text += fmt::format("\x1b[48;5;{};38;5;16m{}\x1b[0m", longest->colour, letter);
      }
    }
    return text;
  }

  [[nodiscard]] Bytes highest_peak() const {
    Bytes result(1);
    for (const MemoryLane& lane : memory_) {
      for (const MemoryStep& step : lane.curve) result = std::max(result, step.bytes);
    }
    return result;
  }

  /// Per column the highest level in it.
  [[nodiscard]] std::string memory_line(const MemoryLane& lane) const {
    static constexpr std::array kBlocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static constexpr std::array kLetters = {" ", "1", "2", "3", "4", "5", "6", "7", "8"};
    const auto top = static_cast<double>(std::max(Bytes(1), lane.capacity.value_or(highest_peak())).value());
    std::string text;
    std::size_t step = 0;
    for (std::size_t c = 0; c < columns_; ++c) {
      Bytes level = lane.curve[step].bytes;
      while (step + 1 < lane.curve.size() && lane.curve[step + 1].time.value() < begin(c + 1)) {
        level = std::max(level, lane.curve[++step].bytes);
      }
      const double share = static_cast<double>(level.value()) / top;
      const auto height = static_cast<std::size_t>(std::clamp(share * 8 + 0.5, 0.0, 8.0));
      text += terminal_.unicode ? kBlocks[height] : kLetters[height];
    }
    if (terminal_.colour) text = "\x1b[38;5;67m" + text + "\x1b[0m";
    return text;
  }

  [[nodiscard]] std::string axis() const {
    const std::string end = human(plan_.statistics.makespan);
    const std::string middle = human(Duration(makespan_ / 2));
    std::string line(columns_ + 1, ' ');
    line.replace(1, 1, "0");
    const auto put = [&](std::size_t at, const std::string& text) {
      if (at + text.size() <= line.size()) line.replace(at, text.size(), text);
    };
    put(1 + columns_ / 2 - std::min(columns_ / 2, middle.size() / 2), middle);
    put(line.size() - std::min(line.size(), end.size()), end);
    return std::string(gutter_, ' ') + line + '\n';
  }

  [[nodiscard]] std::string legend() const {
    std::string text;
    if (has_phases_) {
      text = "F forward, I input gradient, W weight gradient, B backward, O optimizer, # other";
    } else if (plan_.settings.training.microbatches == 1) {
      text = "letters: first letter of the operator";
    } else {
      text = "digits: last digit of the microbatch";
    }
    text += "; small or faint: more than half idle";
    if (!memory_.empty()) {
      const bool limited = std::ranges::all_of(memory_, [](const MemoryLane& m) { return m.capacity.has_value(); });
      text += fmt::format("; memory: {} of {}", terminal_.unicode ? "eighths" : "8 = all",
                          limited ? "the limit" : "the largest peak (or the limit)");
    }
    if (!names_.left_out.empty()) text += fmt::format("\nnames of devices without \"{}\" in front", names_.left_out);
    return text + '\n';
  }

  const ComputationGraph& graph_;
  const Cluster& cluster_;
  const Plan& plan_;
  const std::vector<MemoryLane>& memory_;
  const Terminal& terminal_;
  bool has_phases_ = false;
  ShortNames names_;
  std::size_t gutter_ = 0;
  std::size_t columns_ = 0;
  std::int64_t makespan_ = 1;
  std::map<std::pair<std::size_t, std::string>, Lane> lanes_;
};

}  // namespace

std::string gantt(const ComputationGraph& graph, const Cluster& cluster, const Plan& plan,
                  const std::vector<MemoryLane>& memory, const Terminal& terminal) {
  return Picture(graph, cluster, plan, memory, terminal).draw();
}

}  // namespace opweave::cli
