#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "io/foreign_files.h"
#include "io/json_syntax.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {
namespace {

constexpr std::int64_t kNanosecondsPerUnit = 1000;
constexpr std::int64_t kMostMachines = 4096;  // each becomes a device; published instances have at most 100

/// The words of a text, line by line, with their places.
class LineScanner {
 public:
  LineScanner(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  /// Skips to the next line that is neither blank nor a comment ("# ..."); false at the end of the text.
  bool next_line() {
    do {
      position_ = line_end_;
      position_ = text_.find_first_not_of(" \t\r\n", position_);
      if (position_ == std::string_view::npos) {
        position_ = line_end_ = text_.size();
        return false;
      }
      line_end_ = std::min(text_.find('\n', position_), text_.size());
    } while (text_[position_] == '#');
    return true;
  }

  [[nodiscard]] bool at_line_end() {
    while (position_ < line_end_ && is_blank(text_[position_])) ++position_;
    return position_ == line_end_;
  }

  /// The next word of the line as an integer in a range.
  std::int64_t integer(std::string_view what, std::int64_t least, std::int64_t most) {
    const std::string_view word = next_word();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (word.empty() || error != std::errc() || end != word.data() + word.size() || value < least || value > most) {
      fail_at(word, fmt::format("{} is {}, expected an integer of {} to {}", what,
                                word.empty() ? "missing" : io::text_in_quotes(word), least, most));
    }
    return value;
  }

  /// The next word of the line, which is a number of no interest to us.
  void skip_number(std::string_view what) {
    const std::string_view word = next_word();
    double value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size()) {
      fail_at(word, fmt::format("{} is {}, expected a number", what, io::text_in_quotes(word)));
    }
  }

  void expect_line_end(std::string_view after) {
    if (!at_line_end()) fail_at_next_word(fmt::format("after {}, expected the end of the line", after));
  }

  /// \throws InputError "found <word> <where>".
  [[noreturn]] void fail_at_next_word(std::string_view where) {
    const std::string_view word = next_word();
    fail_at(word, fmt::format("found {} {}", io::text_in_quotes(word), where));
  }

  /// \throws InputError at the last word read.
  [[noreturn]] void fail_at_last_word(std::string_view message) { fail_at(last_word_, message); }
  [[noreturn]] void fail_at_end(std::string_view message) { fail_at(text_.substr(text_.size()), message); }

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

  std::string_view next_word() {
    (void)at_line_end();
    const std::size_t begin = position_;
    while (position_ < line_end_ && !is_blank(text_[position_])) ++position_;
    return last_word_ = text_.substr(begin, position_ - begin);
  }

  [[noreturn]] void fail_at(std::string_view word, std::string_view message) {
    const auto offset = static_cast<std::size_t>(word.data() - text_.data());
    throw io::error_in(source_, fmt::format("{}: {}", io::line_and_column(text_, offset), message));
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t position_ = 0;
  std::size_t line_end_ = 0;
  std::string_view last_word_;
};

struct Alternative {
  std::int64_t machine;  ///< as the file counts
  std::int64_t time;
};
using Operation = std::vector<Alternative>;
using Job = std::vector<Operation>;

struct JobShop {
  std::int64_t machines = 0;
  std::int64_t first_machine = 1;  ///< the file's number for the first machine: 0 or 1
  std::vector<Job> jobs;
};

enum class ShopKind : std::uint8_t { kFlexible, kPlain };

class JobShopReader {
 public:
  JobShopReader(std::string_view text, const std::string& source, ShopKind kind)
      : scanner_(text, source), kind_(kind) {}

  JobShop read() && {
    if (!scanner_.next_line()) scanner_.fail_at_end("no content, expected \"<jobs> <machines>\"");
    const std::int64_t jobs = scanner_.integer("number of jobs", 1, kMaxInputValue);
    shop_.machines = scanner_.integer("number of machines", 1, kMostMachines);
    last_use_.resize(static_cast<std::size_t>(shop_.machines) + 1);
    if (kind_ == ShopKind::kFlexible && !scanner_.at_line_end()) {
      scanner_.skip_number("mean number of machines per operation");
    }
    scanner_.expect_line_end("the header");
    for (std::int64_t job = 0; job < jobs; ++job) {
      if (!scanner_.next_line()) scanner_.fail_at_end(fmt::format("job {} is missing, expected {} jobs", job, jobs));
      read_job();
    }
    if (scanner_.next_line()) {
      scanner_.fail_at_next_word(
          fmt::format("after the last of {} jobs, expected the end of the file; setup times, which "
                      "some variants list there, have no counterpart in a graph",
                      jobs));
    }
    if (uses_zero_) shop_.first_machine = 0;
    return std::move(shop_);
  }

 private:
  void read_job() {
    Job& job = shop_.jobs.emplace_back();
    if (kind_ == ShopKind::kPlain) {
      // Each machine once: so a flexible shop, whose lines hold other numbers, is not read as one of these.
      for (const Alternative& step : read_on_different_machines(shop_.machines, "job")) job.push_back({step});
      scanner_.expect_line_end(fmt::format("{} operations, one on each machine", shop_.machines));
      return;
    }
    const std::int64_t operations = scanner_.integer("number of operations", 1, kMaxInputValue);
    for (std::int64_t i = 0; i < operations; ++i) {
      const std::int64_t alternatives = scanner_.integer("number of eligible machines", 1, shop_.machines);
      job.push_back(read_on_different_machines(alternatives, "operation"));
    }
    scanner_.expect_line_end(fmt::format("{} operations", operations));
  }

  /// So many pairs of machine and time.
  std::vector<Alternative> read_on_different_machines(std::int64_t count, std::string_view of) {
    std::vector<Alternative> result;
    ++lists_;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t machine = read_machine();
      std::int64_t& last_use = last_use_[static_cast<std::size_t>(machine)];
      if (last_use == lists_) {
        scanner_.fail_at_last_word(fmt::format("machine {} is listed twice for one {}", machine, of));
      }
      last_use = lists_;
      const std::int64_t time = scanner_.integer("time", 0, kMaxInputValue / kNanosecondsPerUnit);
      result.push_back({machine, time});
    }
    return result;
  }

  /// Some files count machines from 0, most from 1: the first extreme number found decides.
  std::int64_t read_machine() {
    const std::int64_t least = uses_last_ ? 1 : 0;
    const std::int64_t most = uses_zero_ ? shop_.machines - 1 : shop_.machines;
    const std::int64_t machine = scanner_.integer("machine", least, most);
    uses_zero_ = uses_zero_ || machine == 0;
    uses_last_ = uses_last_ || machine == shop_.machines;
    return machine;
  }

  LineScanner scanner_;
  ShopKind kind_;
  JobShop shop_;
  std::int64_t lists_ = 0;              ///< read so far, with the one in hand
  std::vector<std::int64_t> last_use_;  ///< by machine: the list that named it last
  bool uses_zero_ = false;              ///< so machines count from 0
  bool uses_last_ = false;              ///< so machines count from 1
};

std::string machine_name(std::int64_t machine) { return fmt::format("machine{}", machine); }

/// A mode per machine that an operation may choose, a device per machine.
ImportedProblem parse_job_shop(std::string_view text, const std::string& source, ShopKind kind) {
  const std::size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  if (start < text.size() && text[start] != '#' && (text[start] < '0' || text[start] > '9')) {
    io::refuse_foreign(text, source, kind == ShopKind::kPlain ? "a job shop" : "a flexible job shop");
  }
  const JobShop shop = JobShopReader(text, source, kind).read();
  const std::string name = io::printable(std::filesystem::path(source).stem().string());
  std::vector<Operator> operators;
  for (std::size_t job = 0; job < shop.jobs.size(); ++job) {
    for (std::size_t i = 0; i < shop.jobs[job].size(); ++i) {
      Operator op;
      op.name = fmt::format("job{}.op{}", job, i);
      op.kind = "operation";
      if (i > 0) op.after = {OperatorId(operators.size() - 1)};
      for (const Alternative& alternative : shop.jobs[job][i]) {
        op.modes.push_back(
            {{machine_name(alternative.machine)}, Duration(alternative.time * kNanosecondsPerUnit), Bytes()});
      }
      operators.push_back(std::move(op));
    }
  }
  ClusterParts parts;
  parts.name = name;
  for (std::int64_t machine = 0; machine < shop.machines; ++machine) {
    Device& device = parts.devices.emplace_back();
    device.name = machine_name(shop.first_machine + machine);
  }
  return io::naming_source(source, [&] {
    return ImportedProblem{ComputationGraph::create(name, std::move(operators), {}, {}),
                           Cluster::create(std::move(parts))};
  });
}

bool is_job_shop(std::string_view text, const std::string& source, ShopKind kind) {
  try {
    (void)JobShopReader(text, source, kind).read();
    return true;
  } catch (const InputError&) {
    return false;
  }
}

/// Of two kinds of files that look alike, the one that was meant; an error tells where the text would be one of the
/// other kind.
ImportedProblem parse_as(std::string_view text, const std::string& source, ShopKind kind, ShopKind other,
                         std::string_view command) {
  try {
    return parse_job_shop(text, source, kind);
  } catch (const InputError& error) {
    if (!is_job_shop(text, source, other)) throw;
    throw InputError(error.what(), fmt::format("`opweave convert {}` reads it", command));
  }
}

}  // namespace

ImportedProblem parse_fjs(std::string_view text, const std::string& source) {
  return parse_as(text, source, ShopKind::kFlexible, ShopKind::kPlain, "jsp");
}

ImportedProblem parse_jsp(std::string_view text, const std::string& source) {
  return parse_as(text, source, ShopKind::kPlain, ShopKind::kFlexible, "fjs");
}

}  // namespace opweave
