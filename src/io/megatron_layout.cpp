// `--pipeline-model-parallel-layout` of Megatron-LM, as its parser reads it
// (megatron/core/transformer/pipeline_parallel_layer_layout.py).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "io/message.h"
#include "opweave/error.h"
#include "opweave/strategy_files.h"

namespace opweave {
namespace {

constexpr std::size_t kMostLetters = 1'000'000;

/// The number after "*" at `at`; `at` is then behind it. Nothing where there is none.
std::optional<std::size_t> factor(std::string_view text, std::size_t& at) {
  if (at >= text.size() || text[at] != '*') return std::nullopt;
  std::size_t number = 0;
  const auto [rest, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), number);
  if (rest == text.data() + at + 1) return std::nullopt;
  at = static_cast<std::size_t>(rest - text.data());
  return error == std::errc() ? number : kMostLetters + 1;
}

void append(std::string& result, std::string_view part, std::size_t times) {
  if (part.empty()) return;
  if (times > kMostLetters || result.size() + part.size() * times > kMostLetters) {
    throw InputError(fmt::format("layout has more than {} letters", kMostLetters));
  }
  for (std::size_t i = 0; i < times; ++i) result += part;
}

std::string without_parentheses(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text[at] == '(' ? text.find(')', at + 1) : std::string_view::npos;
    if (end != std::string_view::npos && end > at + 1) {
      std::size_t behind = end + 1;
      if (const auto times = factor(text, behind)) {
        append(result, text.substr(at + 1, end - at - 1), *times);
        at = behind;
        continue;
      }
    }
    append(result, text.substr(at++, 1), 1);
  }
  return result;
}

std::string without_factors(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view letter = text.substr(at++, 1);
    append(result, letter, factor(text, at).value_or(1));
  }
  return result;
}

std::string repeated(std::string_view letters) {
  std::string result;
  for (std::size_t at = 0; at < letters.size();) {
    const std::size_t end = std::min(letters.find_first_not_of(letters[at], at), letters.size());
    result += letters[at];
    if (end - at > 1) result += fmt::format("*{}", end - at);
    at = end;
  }
  return result;
}

}  // namespace

std::vector<std::string> parse_megatron_layout(std::string_view layout) {
  std::string text(layout);
  std::erase(text, ',');
  text = without_factors(without_parentheses(text));
  std::vector<std::string> stages(1);
  for (const char letter : text) {
    if (letter == '|') {
      stages.emplace_back();
    } else if (std::string_view("EtmL").find(letter) == std::string_view::npos) {
      throw InputError(fmt::format("layout {} has the letter {}, expected E, t, m or L", io::text_in_quotes(layout),
                                   io::text_in_quotes(std::string(1, letter))));
    } else {
      stages.back() += letter;
    }
  }
  return stages;
}

std::string megatron_layout(const std::vector<std::string>& stages) {
  std::string text;
  for (std::size_t at = 0; at < stages.size();) {
    const std::string letters = repeated(stages[at]);
    std::size_t end = at;
    while (end < stages.size() && stages[end] == stages[at]) ++end;
    const bool is_last = end == stages.size();
    // A repeated group ends with its separator, which the last stage must not have.
    const std::size_t closed = end - at - (is_last ? 1 : 0);
    text += closed > 1 ? fmt::format("({}|)*{}", letters, closed) : closed == 1 ? letters + "|" : "";
    if (is_last) text += letters;
    at = end;
  }
  return text;
}

}  // namespace opweave
