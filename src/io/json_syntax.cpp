#include "io/json_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "io/message.h"
#include "io/whole_number.h"
#include "opweave/error.h"
#include "opweave/quantity.h"

namespace opweave::io {
namespace {

/// Our parser takes a zero byte for the end of the text; people should hear what it is.
std::string zero_byte_at(std::string_view text, std::size_t offset) {
  return line_and_column(text, offset) + ": found a zero byte, expected JSON in UTF-8";
}

/// Listens to a parse and knows where it is. Every function returns whether to go on.
class Listener : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool string(string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool start_object(std::size_t) override { return enter(false); }
  bool start_array(std::size_t) override { return enter(true); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    path_.back().key = name;
    return true;
  }

 protected:
  bool value() {
    if (!path_.empty()) ++path_.back().index;
    return true;
  }
  [[nodiscard]] std::size_t depth() const { return path_.size(); }
  /// Of the value in hand; inside a value before its first member, of that value.
  [[nodiscard]] std::string pointer() const {
    std::string result;
    for (const Level& level : path_) {
      result += '/' + (level.is_array ? std::to_string(level.index) : escape_pointer(level.key));
    }
    return result;
  }
  virtual bool enter(bool is_array) {
    path_.push_back({is_array, 0, {}});
    return true;
  }

 private:
  struct Level {
    bool is_array;
    std::size_t index;  ///< of the next item
    std::string key;
  };

  bool leave() {
    path_.pop_back();
    return value();
  }

  std::vector<Level> path_;
};

/// Stops at the first thing that we do not accept.
class DefectFinder : public Listener {
 public:
  explicit DefectFinder(std::string_view text) : text_(text) {}

  [[nodiscard]] const std::string& defect() const { return defect_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }

  bool number_float(number_float_t, const string_t& token) override {
    // An integer arrives here if it has no room in 64 bits.
    if (token.find_first_of(".eE") == string_t::npos) return refuse_number(token);
    return value();
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception& error) override {
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) return refuse_number(token);
    // "[json.exception...] parse error at line 1, column 2: syntax error while parsing value - unexpected ..."
    std::string_view reason = error.what();
    constexpr std::string_view kStart = "syntax error ";
    if (const auto start = reason.find(kStart); start != std::string_view::npos) reason.remove_prefix(start);
    std::string text(reason);
    if (const auto dash = text.find(" - "); dash != std::string::npos) text.replace(dash, 3, ": ");
    const std::size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
    if (offset < text_.size() && text_[offset] == '\0') {
      defect_ = zero_byte_at(text_, offset);
      return false;
    }
    defect_ = fmt::format("{}: {}", line_and_column(text_, offset), printable(text, 160));
    const std::string_view rest = text_.substr(offset);
    if (rest.starts_with("NaN") || rest.starts_with("nan") || rest.starts_with("Inf") || rest.starts_with("inf")) {
      hint_ = "JSON has no NaN and no infinity";
    }
    return false;
  }

 private:
  bool enter(bool is_array) override {
    if (depth() == kMaxJsonDepth) {
      defect_ = fmt::format("{}: values are nested deeper than {} levels", printable(pointer(), 60), kMaxJsonDepth);
      return false;
    }
    return Listener::enter(is_array);
  }
  bool refuse_number(const std::string& token) {
    const std::string where = depth() == 0 ? "" : printable(pointer()) + ": ";
    defect_ = fmt::format("{}value is {}, expected a number that fits in 64 bits", where, printable(token, 60));
    return false;
  }

  std::string_view text_;
  std::string defect_;
  std::string hint_;
};

/// Collects the numbers whose double does not say whether they are integers, and which.
class RoundedNumbers : public Listener {
 public:
  [[nodiscard]] std::unordered_map<std::string, std::string> take() { return std::move(found_); }

  bool number_float(number_float_t number, const string_t& token) override {
    const bool seems_whole = std::trunc(number) == number;
    const bool is_exact = std::abs(number) <= static_cast<double>(kMaxInputValue) && whole_number(token);
    if (seems_whole && !is_exact) found_.emplace(pointer(), token);
    return value();
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

 private:
  std::unordered_map<std::string, std::string> found_;
};

}  // namespace

std::string escape_pointer(std::string_view key) {
  std::string result;
  for (const char c : key) {
    if (c == '~') {
      result += "~0";
    } else if (c == '/') {
      result += "~1";
    } else {
      result += c;
    }
  }
  return result;
}

std::string line_and_column(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto newline = before.rfind('\n');
  const std::string_view line = newline == std::string_view::npos ? before : before.substr(newline + 1);
  return fmt::format("line {}, column {}", 1 + std::count(before.begin(), before.end(), '\n'), 1 + utf8_length(line));
}

void throw_json_syntax_error(std::string_view text, const std::string& source, std::string_view fallback) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw error_in(source, "the file is empty, expected a JSON object");
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    throw error_in(source, "line 1, column 1: byte order mark, expected \"{\"",
                   "save the file as UTF-8 without a mark");
  }
  DefectFinder finder(text);
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &finder)) {
    // The two parsers disagree: about a zero byte, which ends the text for this one, or about sizes.
    const std::size_t zero = text.find('\0');
    throw error_in(source, zero == std::string_view::npos ? std::string(fallback) : zero_byte_at(text, zero));
  }
  throw error_in(source, finder.defect(), finder.hint());
}

std::unordered_map<std::string, std::string> rounded_numbers(std::string_view text) {
  RoundedNumbers numbers;
  nlohmann::json::sax_parse(text.begin(), text.end(), &numbers);
  return numbers.take();
}

std::optional<std::string_view> outermost_number(std::string_view text, std::string_view key) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::size_t depth = 0;
  for (std::size_t at = text.find_first_of("{}[]\""); at != std::string_view::npos;
       at = text.find_first_of("{}[]\"", at + 1)) {
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    if (text[at] != '"') continue;
    const std::size_t begin = at + 1;
    at = text.find_first_of("\"\\", begin);
    while (at != std::string_view::npos && text[at] == '\\') at = text.find_first_of("\"\\", at + 2);
    if (at == std::string_view::npos) return std::nullopt;
    if (depth != 1 || text.substr(begin, at - begin) != key) continue;
    const std::size_t colon = text.find_first_not_of(kSpace, at + 1);
    if (colon == std::string_view::npos || text[colon] != ':') continue;  // a value, not a key
    const std::size_t number = std::min(text.find_first_not_of(kSpace, colon + 1), text.size());
    const std::string_view rest = text.substr(number);
    const std::string_view digits = rest.substr(0, rest.find_first_not_of("+-.0123456789eE"));
    return digits.empty() ? std::nullopt : std::optional(digits);
  }
  return std::nullopt;
}

}  // namespace opweave::io
