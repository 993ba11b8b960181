#include "io/json_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "io/message.h"
#include "opweave/error.h"

namespace opweave::io {
namespace {

template <class Number>
void append_number(std::string& out, Number number) {
  char buffer[32];  // the longest double takes 24
  const auto [end, error] = std::to_chars(std::begin(buffer), std::end(buffer), number);
  if (error != std::errc()) throw InternalError("number does not fit its buffer");
  out.append(buffer, end);
}

bool stays_as_it_is(char character) {
  const auto c = static_cast<unsigned char>(character);
  return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

}  // namespace

void JsonWriter::open(char bracket, Layout layout) {
  begin_item();
  out_ += bracket;
  levels_.push_back({layout, true});
}

void JsonWriter::close(char bracket) {
  const Level level = levels_.back();
  levels_.pop_back();
  if (level.layout == Layout::kBlock && !level.is_empty) break_line();
  out_ += bracket;
}

void JsonWriter::begin_item() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) return;
  Level& level = levels_.back();
  if (!level.is_empty) out_ += ',';
  if (level.layout == Layout::kBlock) {
    break_line();
  } else if (!level.is_empty) {
    out_ += ' ';
  }
  level.is_empty = false;
}

void JsonWriter::key(std::string_view name) {
  value(name);
  out_ += ": ";
  after_key_ = true;
}

void JsonWriter::value(std::string_view text) {
  begin_item();
  out_ += '"';
  while (!text.empty()) {
    // Nearly all texts are such a run from beginning to end.
    const auto run = static_cast<std::size_t>(std::ranges::find_if_not(text, stays_as_it_is) - text.begin());
    out_.append(text.substr(0, run));
    text.remove_prefix(run);
    if (text.empty()) break;
    const auto c = static_cast<unsigned char>(text.front());
    std::size_t length = 1;
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += text.front();
    } else if (c == '\n') {
      out_ += "\\n";
    } else if (c == '\t') {
      out_ += "\\t";
    } else if (c < 0x20) {
      fmt::format_to(std::back_inserter(out_), "\\u{:04x}", static_cast<unsigned>(c));
    } else if (const std::size_t sequence = utf8_sequence_length(text); sequence > 0) {
      length = sequence;
      out_ += text.substr(0, length);
    } else {
      out_ += "\xEF\xBF\xBD";
    }
    text.remove_prefix(length);
  }
  out_ += '"';
}

void JsonWriter::value(std::int64_t number) {
  begin_item();
  append_number(out_, number);
}

void JsonWriter::value(std::uint64_t number) {
  begin_item();
  append_number(out_, number);
}

void JsonWriter::value(double number) {
  if (!std::isfinite(number)) throw InternalError("a number to be written is not finite");
  begin_item();
  append_number(out_, number == 0 ? 0.0 : number);  // "-0" would be read back as the integer 0
}

void JsonWriter::value(bool truth) {
  begin_item();
  out_ += truth ? "true" : "false";
}

void JsonWriter::null() {
  begin_item();
  out_ += "null";
}

std::string JsonWriter::finish() && {
  out_ += '\n';
  return std::move(out_);
}

}  // namespace opweave::io
