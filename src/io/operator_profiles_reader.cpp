#include <fmt/format.h>

#include <charconv>

#include "opweave/error.h"
#include "opweave/operator_profiles.h"

namespace opweave {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    std::string_view part = text.substr(0, end);
    while (!part.empty() && (part.front() == ' ' || part.front() == '\r')) part.remove_prefix(1);
    while (!part.empty() && (part.back() == ' ' || part.back() == '\r')) part.remove_suffix(1);
    parts.push_back(part);
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

double number(std::string_view text, const std::string& source, std::size_t line) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || !(value >= 0 && value < 1e15)) {
    throw InputError(fmt::format("{}:{}: value is \"{}\", expected a number from 0", source, line, text));
  }
  return value;
}

}  // namespace

std::vector<OperatorProfile> parse_operator_profiles(std::string_view csv, const std::string& source) {
  constexpr std::size_t kColumns = 9;
  std::vector<OperatorProfile> result;
  std::size_t line = 0;
  for (const std::string_view text : split(csv, '\n')) {
    if (++line == 1 || text.empty()) continue;  // headings
    const auto cells = split(text, ',');
    if (cells.size() != kColumns) {
      throw InputError(fmt::format("{}:{}: has {} columns, expected {}", source, line, cells.size(), kColumns));
    }
    const auto at = [&](std::size_t column) { return number(cells[column], source, line); };
    result.push_back({std::string(cells[0]), at(1) / 1000, at(2) / 1000, at(3), at(4), at(5), at(6), at(7), at(8)});
  }
  if (result.empty()) throw InputError(fmt::format("{}: has no operators", source));
  return result;
}

std::vector<double> parse_bandwidths(std::string_view csv, const std::string& source) {
  const auto lines = split(csv, '\n');
  if (lines.size() < 2) throw InputError(fmt::format("{}: has no line of bandwidths", source));
  std::vector<double> result;
  for (const std::string_view cell : split(lines[1], ',')) {
    result.push_back(number(cell, source, 2));
    if (result.back() == 0) throw InputError(fmt::format("{}:2: value is 0, expected a positive number", source));
  }
  return result;
}

}  // namespace opweave
