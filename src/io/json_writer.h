/// Writing of JSON, value by value, in one fixed layout: the same calls give the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace opweave::io {

/// Appends JSON to a text. Doubles are written in the shortest form that reads back as the same double.
class JsonWriter {
 public:
  /// How the items of an object or array are set.
  enum class Layout : std::uint8_t {
    kBlock,  ///< each on a line of its own
    kLine,   ///< all on one line
  };

  void open_object(Layout layout) { open('{', layout); }
  void close_object() { close('}'); }
  void open_array(Layout layout) { open('[', layout); }
  void close_array() { close(']'); }
  void key(std::string_view name);

  /// Bytes that are not UTF-8 become U+FFFD, so that what is written is always JSON.
  void value(std::string_view text);
  void value(const std::string& text) { value(std::string_view(text)); }
  void value(const char* text) { value(std::string_view(text)); }
  void value(std::int64_t number);
  void value(std::uint64_t number);
  void value(std::uint32_t number) { value(std::uint64_t{number}); }
  /// \pre finite
  void value(double number);
  void value(bool truth);
  void null();

  template <class Value>
  void member(std::string_view name, const Value& content) {
    key(name);
    value(content);
  }
  /// An array of plain values on one line.
  template <class Values>
  void list(std::string_view name, const Values& values) {
    key(name);
    line(values);
  }
  template <class Values>
  void line(const Values& values) {
    open_array(Layout::kLine);
    for (const auto& item : values) value(item);
    close_array();
  }

  /// What was written, ended by a line break.
  [[nodiscard]] std::string finish() &&;

 private:
  struct Level {
    Layout layout;
    bool is_empty;
  };

  void open(char bracket, Layout layout);
  void close(char bracket);
  void begin_item();
  void break_line() { out_.append(1, '\n').append(2 * levels_.size(), ' '); }

  std::string out_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

}  // namespace opweave::io
