/// Strict reading of JSON: every value knows its place, so every error names file, JSON pointer and value.
#pragma once

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/whole_number.h"
#include "opweave/quantity.h"

namespace opweave::io {

/// Sums of input values may exceed what one input value may be.
inline constexpr std::int64_t kMaxTotal = std::numeric_limits<std::int64_t>::max();

class JsonDocument;

/// The keys of one object. Most objects have few: they are compared one by one.
class KeysSeen {
 public:
  /// False where the key has been there.
  bool insert(std::string_view key) {
    if (count_ == few_.size()) return many_.insert(key).second && std::ranges::find(few_, key) == few_.end();
    const auto end = few_.begin() + static_cast<std::ptrdiff_t>(count_);
    if (std::find(few_.begin(), end, key) != end) return false;
    few_[count_++] = key;
    return true;
  }

 private:
  std::array<std::string_view, 8> few_;
  std::size_t count_ = 0;
  std::set<std::string_view> many_;
};

/// A value in a document, with the way to it. Refers to its parents and to the document: a value must
/// not outlive the ones it was reached through.
class JsonValue {
 public:
  using Element = simdjson::dom::element;

  /// The root of a document.
  JsonValue(const JsonDocument& document, Element element) : document_(&document), element_(element) {}
  /// A member of an object.
  JsonValue(const JsonValue& object, std::string_view key, Element element)
      : document_(object.document_), parent_(&object), key_(key), element_(element) {}
  /// An item of an array.
  JsonValue(const JsonValue& array, std::size_t index, Element element)
      : document_(array.document_), parent_(&array), index_(index), element_(element) {}

  [[nodiscard]] const std::string& source() const;
  [[nodiscard]] Element element() const { return element_; }
  [[nodiscard]] bool is_object() const { return element_.is_object(); }
  [[nodiscard]] bool is_array() const { return element_.is_array(); }
  [[nodiscard]] bool is_number() const { return element_.is_number(); }

  // Each of these throws InputError unless the value has the type and lies in the range.
  /// A whole number; 5.0 and 5e3 count, as they do for JSON Schema.
  [[nodiscard]] std::int64_t integer(std::int64_t least = 0, std::int64_t most = kMaxInputValue) const;
  [[nodiscard]] std::uint32_t index() const;
  [[nodiscard]] std::uint64_t unsigned_integer() const;
  [[nodiscard]] double number(double least = 0, double most = std::numeric_limits<double>::max()) const;
  /// A rate: something divides by it.
  [[nodiscard]] double positive_number() const;
  [[nodiscard]] bool boolean() const;
  /// Without a zero character. Lives as long as the document.
  [[nodiscard]] std::string_view text() const;
  /// A text that is not empty.
  [[nodiscard]] std::string_view name() const;
  [[nodiscard]] simdjson::dom::object object() const;
  [[nodiscard]] simdjson::dom::array array() const;

  /// Calls visit(item) for each item of an array, in order.
  template <class Visit>
  void each(Visit&& visit) const {
    std::size_t index = 0;
    for (const Element item : array()) visit(JsonValue(*this, index++, item));
  }
  /// Items of an array, to make room for them.
  [[nodiscard]] std::size_t count() const { return array().size(); }
  /// Calls visit(key, member) for each member of an object, in order; a repeated key is an error.
  template <class Visit>
  void each_member(Visit&& visit) const {
    KeysSeen seen;
    for (const auto& [key, element] : object()) {
      if (!seen.insert(key)) fail_repeated_key(key);
      if (std::string_view(key).find('\0') != std::string_view::npos) fail_key_with_zero(key);
      visit(key, JsonValue(*this, key, element));
    }
  }

  /// Position in its array, or that of the object it is a member of.
  [[nodiscard]] std::size_t position() const;
  /// "/operators/3/duration_ns"; empty for the root.
  [[nodiscard]] std::string pointer() const;
  /// \throws InputError "<source>: <pointer>: <message>".
  [[noreturn]] void fail(std::string_view message, std::string hint = {}) const;
  /// \throws InputError "<source>: <pointer>: value is <value>, expected <expected>".
  [[noreturn]] void reject(std::string_view expected, std::string hint = {}) const;
  /// \throws InputError about a key of this object; `known` are the keys that it may have.
  [[noreturn]] void fail_unknown_key(std::string_view key, std::span<const std::string_view> known) const;
  [[noreturn]] void fail_repeated_key(std::string_view key) const;
  [[noreturn]] void fail_missing_key(std::string_view key) const;

 private:
  /// The value if it is an integer, however it is written.
  [[nodiscard]] std::optional<WideInteger> whole() const;
  [[noreturn]] void fail_key_with_zero(std::string_view key) const;

  const JsonDocument* document_;
  const JsonValue* parent_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
  Element element_;
};

/// A key of an object, and what to do with its value.
template <class Read>
struct Field {
  std::string_view key;
  bool is_required;
  Read read;
};
template <class Read>
Field<Read> required(std::string_view key, Read read) {
  return {key, true, std::move(read)};
}
template <class Read>
Field<Read> optional(std::string_view key, Read read) {
  return {key, false, std::move(read)};
}
// What to do with a value: store it.
inline auto text_into(std::string& target) {
  return [&target](const JsonValue& value) { target = value.text(); };
}
inline auto number_into(double& target) {
  return [&target](const JsonValue& value) { target = value.number(); };
}
/// A Duration or Bytes.
template <class Amount>
auto amount_into(Amount& target, std::int64_t most = kMaxInputValue) {
  return [&target, most](const JsonValue& value) { target = Amount(value.integer(0, most)); };
}
/// A list of names.
inline auto names_into(std::vector<std::string>& target) {
  return [&target](const JsonValue& list) {
    target.clear();
    list.each([&](const JsonValue& item) { target.emplace_back(item.name()); });
  };
}
/// For values that must wait for others: remembers the value.
inline auto keep(std::optional<JsonValue>& slot) {
  return [&slot](const JsonValue& value) { slot.emplace(value); };
}

/// Whether keys that are not named are errors.
enum class OtherKeys : std::uint8_t { kReject, kIgnore };

/// Reads the named keys of an object in the order of the document. \throws InputError for a key that is
/// unknown (unless ignored), repeated or missing.
template <OtherKeys other_keys = OtherKeys::kReject, class... Read>
void read_object(const JsonValue& object, const Field<Read>&... fields) {
  static_assert(sizeof...(fields) <= 64);
  std::uint64_t seen = 0;
  for (const auto& [key, element] : object.object()) {
    const JsonValue value(object, key, element);
    std::uint64_t bit = 1;
    const auto read_if_named = [&, name = std::string_view(key)](const auto& field) {
      if (field.key != name) {
        bit <<= 1U;
        return false;
      }
      if ((seen & bit) != 0) object.fail_repeated_key(name);
      seen |= bit;
      field.read(value);
      return true;
    };
    if (!(read_if_named(fields) || ...) && other_keys == OtherKeys::kReject) {
      object.fail_unknown_key(key, std::array<std::string_view, sizeof...(fields)>{fields.key...});
    }
  }
  std::uint64_t bit = 1;
  const auto require = [&](const auto& field) {
    if (field.is_required && (seen & bit) == 0) object.fail_missing_key(field.key);
    bit <<= 1U;
  };
  (require(fields), ...);
}

/// A parsed text.
class JsonDocument {
 public:
  /// \throws InputError with line and column if the text is not JSON. `text` and `source` outlive the document.
  JsonDocument(std::string_view text, const std::string& source);

  [[nodiscard]] const std::string& source() const { return source_; }
  /// The root of any document.
  [[nodiscard]] JsonValue root() const { return {*this, root_}; }
  /// The root of a document of ours, as require_format().
  [[nodiscard]] JsonValue root(std::string_view format, std::int64_t newest) const;

  /// How a number of the document is written, where its double alone does not say whether it is an integer, and which.
  [[nodiscard]] const std::string* if_rounded(const JsonValue& number) const;

 private:
  std::string_view text_;
  const std::string& source_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
  /// By JSON pointer. Looked for when the first integer that is written as 5.0 or 5e3 asks.
  mutable std::optional<std::unordered_map<std::string, std::string>> rounded_;
};

inline const std::string& JsonValue::source() const { return document_->source(); }

/// \throws InputError unless the value is an object of this format and of a version of 1 to `newest`.
void require_format(const JsonValue& value, std::string_view format, std::int64_t newest);

/// Names given so far to things of one or several kinds, numbered in order of appearance.
class NameIndex {
 public:
  /// Makes room for so many names.
  void reserve(std::size_t count) { owners_.reserve(count); }
  /// Gives the next number to the name of a `kind` ("device"). \throws InputError if it is empty or taken.
  void add(const JsonValue& name, std::string_view kind);
  /// What to do with the value of "name": add it and store it.
  auto add_into(std::string& target, std::string_view kind) {
    return [this, &target, kind](const JsonValue& name) {
      add(name, kind);
      target = name.text();
    };
  }
  /// Number of the name that `value` holds. \throws InputError "... expected the name of <what>" if there is none.
  [[nodiscard]] std::uint32_t resolve(const JsonValue& value, std::string_view what) const;
  /// Number of a name; nothing if there is none.
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view name) const;

 private:
  struct Owner {
    std::uint32_t number;
    std::uint32_t position;  ///< in the list of its kind
    std::string_view kind;
  };
  std::unordered_map<std::string_view, Owner> owners_;
};

}  // namespace opweave::io
