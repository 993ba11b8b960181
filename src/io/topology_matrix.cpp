// The matrix of `nvidia-smi topo -m`: how each pair of GPUs is joined, and nothing about speeds.
#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

#include "io/topology_links.h"
#include "io/topology_parts.h"

namespace opweave::io {
namespace {

/// Words of a line, without the sequences that switch underlining on and off.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      while (i < line.size() && line[i] != 'm') ++i;
    } else if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += line[i];
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

bool is_gpu(const std::string& word) {
  return word.size() > 3 && word.starts_with("GPU") &&
         std::all_of(word.begin() + 3, word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::vector<std::string>> lines_of(std::string_view text) {
  std::vector<std::vector<std::string>> result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    result.push_back(words_of(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

/// The line that names the columns: it begins with a GPU, and the line after it is the row of that one.
std::optional<std::size_t> header_of(const std::vector<std::vector<std::string>>& lines) {
  constexpr std::size_t kFarthest = 20;  // a prompt and a command may stand before it
  for (std::size_t i = 0; i + 1 < lines.size() && i < kFarthest; ++i) {
    if (!lines[i].empty() && is_gpu(lines[i][0]) && !lines[i + 1].empty() && lines[i + 1][0] == lines[i][0]) return i;
  }
  return std::nullopt;
}

/// Sets of GPUs that grow together.
class Clusters {
 public:
  explicit Clusters(std::size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), std::size_t{0}); }
  std::size_t find(std::size_t i) {
    while (parent_[i] != i) i = parent_[i];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    const std::size_t first = find(a);
    const std::size_t second = find(b);
    parent_[std::max(first, second)] = std::min(first, second);
  }

 private:
  std::vector<std::size_t> parent_;
};

class MatrixReader {
 public:
  MatrixReader(std::string_view text, const std::string& source, const TopologyOptions& options)
      : lines_(lines_of(text)), source_(source), options_(options), parts_("nvidia-smi topology") {}

  Cluster read() {
    read_kinds();
    for (const std::string& gpu : gpus_) parts_.add_device(gpu, "", options_);
    join_by_nvlink();
    join_by_pcie();
    return parts_.cluster(source_);
  }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& message) const {
    throw error_in(source_, fmt::format("line {}: {}", line + 1, printable(message)));
  }

  void read_kinds() {
    const auto header = header_of(lines_);
    if (!header) fail(0, "no matrix of `nvidia-smi topo -m`, expected a line of columns that begins with GPU0");
    const std::vector<std::string>& columns = lines_[*header];
    const auto count = static_cast<std::size_t>(std::ranges::find_if_not(columns, is_gpu) - columns.begin());
    for (std::size_t row = 0; row < count; ++row) {
      const std::size_t line = *header + 1 + row;
      if (line >= lines_.size() || lines_[line].empty() || lines_[line][0] != columns[row]) {
        fail(std::min(line, lines_.size() - 1), fmt::format("expected the row of {}", columns[row]));
      }
      if (lines_[line].size() <= count) {
        fail(line, fmt::format("row of {} has {} columns, expected one for each of {} GPUs", columns[row],
                               lines_[line].size() - 1, count));
      }
      kinds_.emplace_back(lines_[line].begin() + 1, lines_[line].begin() + 1 + static_cast<std::ptrdiff_t>(count));
      gpus_.push_back("gpu" + columns[row].substr(3));
      for (std::size_t other = 0; other < row; ++other) {
        check_kind(line, row, other);
        if (kinds_[row][other] != kinds_[other][row]) {
          fail(line, fmt::format("{} and {} are joined by {} one way and by {} the other", columns[other], columns[row],
                                 text_in_quotes(kinds_[other][row]), text_in_quotes(kinds_[row][other])));
        }
      }
    }
  }

  void check_kind(std::size_t line, std::size_t a, std::size_t b) const {
    const std::string& kind = kinds_[a][b];
    const bool is_known = kind == "SYS" || kind == "NODE" || kind == "PHB" || kind == "PXB" || kind == "PIX";
    if (!is_known && nvlinks(a, b) == 0) {
      fail(line, fmt::format("{} and {} are joined by {}, expected NV#, PIX, PXB, PHB, NODE or SYS", gpus_[a], gpus_[b],
                             text_in_quotes(kind)));
    }
  }

  /// Number in "NV12"; 0 for other kinds.
  [[nodiscard]] std::int64_t nvlinks(std::size_t a, std::size_t b) const {
    const std::string& kind = kinds_[a][b];
    std::int64_t count = 0;
    if (!kind.starts_with("NV")) return 0;
    const auto [end, error] = std::from_chars(kind.data() + 2, kind.data() + kind.size(), count);
    constexpr std::int64_t kMost = 1000;
    return error == std::errc{} && end == kind.data() + kind.size() && count > 0 && count <= kMost ? count : 0;
  }

  /// Each GPU shows all its links towards every other one behind switches, which is more than any GPU has; without
  /// switches the links of a GPU are shared out among the others.
  [[nodiscard]] bool has_switch() const {
    constexpr std::int64_t kMostLinks = 18;      // Hopper, Blackwell
    constexpr std::int64_t kFewestSwitched = 6;  // Volta
    for (std::size_t a = 0; a < gpus_.size(); ++a) {
      std::int64_t total = 0;
      std::int64_t least = kMostLinks;
      std::size_t peers = 0;
      for (std::size_t b = 0; b < gpus_.size(); ++b) {
        const std::int64_t count = a == b ? 0 : nvlinks(a, b);
        if (count == 0) continue;
        total += count;
        least = std::min(least, count);
        ++peers;
      }
      if (total > kMostLinks || (peers > 1 && least >= kFewestSwitched)) return true;
    }
    return false;
  }

  void join_by_nvlink() {
    const std::int64_t speed = options_.nvlink_bytes_per_s.value_or(kNvlinkSm80);
    const bool is_switched = has_switch();
    if (is_switched) parts_.add_switch("nvswitch");
    for (std::size_t a = 0; a < gpus_.size(); ++a) {
      std::int64_t most = 0;
      for (std::size_t b = 0; b < gpus_.size(); ++b) {
        if (a == b) continue;
        most = std::max(most, nvlinks(a, b));
        if (a < b && !is_switched && nvlinks(a, b) > 0) {
          parts_.add_link(gpus_[a], gpus_[b], kNvlinkLatency, nvlinks(a, b) * speed);
        }
      }
      if (is_switched && most > 0) parts_.add_link(gpus_[a], "nvswitch", kNvswitchPortLatency, most * speed);
    }
  }

  /// PIX and PXB: below one PCIe switch. PHB and NODE: below one processor. SYS: processors that are joined.
  void join_by_pcie() {
    Clusters below_switch(gpus_.size());
    Clusters below_processor(gpus_.size());
    bool is_needed = false;
    for (std::size_t a = 0; a < gpus_.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        const std::string& kind = kinds_[a][b];
        if (kind == "PIX" || kind == "PXB") below_switch.join(a, b);
        if (kind == "PIX" || kind == "PXB" || kind == "PHB" || kind == "NODE") below_processor.join(a, b);
        is_needed = is_needed || nvlinks(a, b) == 0;
      }
    }
    if (!is_needed) return;
    const std::int64_t speed = options_.pcie_bytes_per_s.value_or(kPcieGeneration4);
    std::vector<std::string> processors;
    for (std::size_t root = 0; root < gpus_.size(); ++root) {
      if (below_processor.find(root) != root) continue;
      const std::string processor = fmt::format("cpu{}", processors.size());
      parts_.add_switch(processor);
      for (const std::string& other : processors) {
        parts_.add_link(other, processor, kPcieLatency, options_.socket_bytes_per_s.value_or(kSocketSkylake));
      }
      processors.push_back(processor);
      for (std::size_t gpu = 0; gpu < gpus_.size(); ++gpu) {
        if (below_processor.find(gpu) != root) continue;
        const std::size_t first = below_switch.find(gpu);
        const std::string bridge = "pci of " + gpus_[first];
        bool is_shared = false;
        for (std::size_t other = 0; other < gpus_.size(); ++other) {
          is_shared = is_shared || (other != gpu && below_switch.find(other) == first);
        }
        if (is_shared && first == gpu) {
          parts_.add_switch(bridge);
          parts_.add_link(bridge, processor, kPcieLatency, speed);
        }
        parts_.add_link(gpus_[gpu], is_shared ? bridge : processor, kPcieLatency, speed);
      }
    }
  }

  const std::vector<std::vector<std::string>> lines_;
  const std::string& source_;
  const TopologyOptions& options_;
  TopologyParts parts_;
  std::vector<std::string> gpus_;
  std::vector<std::vector<std::string>> kinds_;
};

}  // namespace

bool is_topology_matrix(std::string_view text) {
  constexpr std::size_t kHead = 20'000;
  return header_of(lines_of(text.substr(0, kHead))).has_value();
}

Cluster parse_topology_matrix(std::string_view text, const std::string& source, const TopologyOptions& options) {
  return MatrixReader(text, source, options).read();
}

}  // namespace opweave::io
