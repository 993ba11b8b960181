#include "exact/model_file.h"

#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <vector>

#include "exact/disjunctive_mip.h"
#include "exact/retime.h"
#include "exact/schedule_space.h"
#include "exact/time_indexed_mip.h"
#include "opweave/error.h"

namespace opweave::exact {
namespace {

constexpr std::string_view kBlanks = " \t\r";

/// Next word of a line, which is shortened by it.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

/// Values of all columns of a model in their order.
std::vector<double> values_of(const MipModel& model, const std::map<std::string, double, std::less<>>& named,
                              const std::string& source) {
  std::vector<double> values(model.column_count(), 0);
  std::size_t found = 0;
  for (std::size_t c = 0; c < values.size(); ++c) {
    const auto entry = named.find(model.names()[c]);
    if (entry == named.end()) continue;
    values[c] = entry->second;
    ++found;
  }
  if (found == 0) throw InputError(fmt::format("{}: no column of the model, expected lines \"name value\"", source));
  if (found == named.size()) return values;
  std::map<std::string_view, std::size_t> known;
  for (std::size_t c = 0; c < values.size(); ++c) known.emplace(model.names()[c], c);
  for (const auto& [name, value] : named) {
    if (known.contains(name)) continue;
    throw InputError(fmt::format("{}: column \"{}\" is not in the model", source, name),
                     "read a solution with the files and options with which the model was written");
  }
  return values;
}

template <class Formulation>
Schedule schedule_of(const Problem& problem, const Formulation& formulation,
                     const std::map<std::string, double, std::less<>>& named, const std::string& source) {
  const std::vector<double> values = values_of(formulation.model(), named, source);
  if (const std::string broken = formulation.model().violation(values); !broken.empty()) {
    throw InputError(fmt::format("{}: no solution of the model: {}", source, broken));
  }
  std::optional<Schedule> schedule = retime(problem, formulation.read(values));
  if (!schedule) throw InputError(fmt::format("{}: states no schedule", source));
  return std::move(*schedule);
}

}  // namespace

std::string too_many_choices(const Problem& problem, const ExactOptions& options) {
  const bool is_constraint_program = options.method == ExactMethod::kConstraintProgram;
  // Each choice is a column in several rows.
  constexpr std::size_t kNonzerosPerChoice = 4;
  const std::size_t size = choice_count(problem) * (is_constraint_program ? 1 : kNonzerosPerChoice);
  const std::size_t most = is_constraint_program ? options.most_intervals : options.most_nonzeros;
  if (size <= most) return {};
  return fmt::format("{} {} or more, expected at most {}", size, is_constraint_program ? "intervals" : "nonzeros",
                     most);
}

std::map<std::string, double, std::less<>> parse_solution(std::string_view text, const std::string& source) {
  // HiGHS has sections, of which the first "# Columns" holds the primal values.
  constexpr std::string_view kColumns = "# Columns";
  const std::size_t section = text.find(kColumns);
  const bool has_sections = section != std::string_view::npos;
  std::map<std::string, double, std::less<>> values;
  std::size_t line_number = 0;
  bool is_inside = !has_sections;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    const bool opens = has_sections && begin == section;
    begin = end + 1;
    ++line_number;
    if (opens) {
      is_inside = true;
      continue;
    }
    if (has_sections && is_inside && line.starts_with('#')) break;
    if (!is_inside || line.starts_with('#')) continue;
    const std::string_view name = take_word(line);
    if (name.empty()) continue;
    const std::string_view number = take_word(line);
    double value = 0;
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc() || stop != number.data() + number.size() || !take_word(line).empty()) {
      throw InputError(fmt::format("{}: line {}: expected a name and a number", source, line_number));
    }
    if (!values.emplace(name, value).second) {
      throw InputError(fmt::format("{}: line {}: column \"{}\" appears twice", source, line_number, name));
    }
  }
  return values;
}

Schedule read_integer_program_solution(const Problem& problem, const Schedule* upper_bound, std::string_view text,
                                       const std::string& source, const ExactOptions& options) {
  const auto named = parse_solution(text, source);
  if (const std::string reason = too_many_choices(problem, options); !reason.empty()) {
    throw InputError(fmt::format("{}: the model would have {}", source, reason));
  }
  const auto space = std::make_shared<const ScheduleSpace>(problem, exact_unit(problem));
  const std::int64_t horizon =
      upper_bound != nullptr ? space->unit().ticks(upper_bound->makespan(problem)) : space->horizon();
  const bool is_disjunctive = options.method == ExactMethod::kDisjunctive;
  const std::size_t size =
      is_disjunctive ? DisjunctiveMip::size(*space) : TimeIndexedMip::size(*space, horizon).nonzeros;
  if (size > options.most_nonzeros) {
    throw InputError(
        fmt::format("{}: the model has about {} nonzeros, expected at most {}", source, size, options.most_nonzeros));
  }
  if (is_disjunctive) return schedule_of(problem, DisjunctiveMip(space, horizon, true), named, source);
  return schedule_of(problem, TimeIndexedMip(space, horizon, true), named, source);
}

}  // namespace opweave::exact
