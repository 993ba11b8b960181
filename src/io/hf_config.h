/// A config.json of Hugging Face transformers: values are read by name, and what nobody asked for is refused.
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json_reader.h"

namespace opweave::io {

/// Members of an object, each read when it is asked for; null counts as absent. Refers to the value it was made from.
class HfConfig {
 public:
  /// Sizes that nested configurations leave out because they are those of their class.
  using UsualSizes = std::span<const std::pair<std::string_view, std::int64_t>>;
  explicit HfConfig(const JsonValue& root, UsualSizes usual = {});

  // Of the first of the keys that is there. \throws InputError where the value is of another kind
  [[nodiscard]] std::optional<std::int64_t> integer(std::initializer_list<std::string_view> keys) const;
  [[nodiscard]] std::int64_t required(std::initializer_list<std::string_view> keys) const;
  /// Also below 0.
  [[nodiscard]] std::optional<std::int64_t> signed_integer(std::string_view key) const;
  [[nodiscard]] std::optional<double> number(std::string_view key) const;  ///< at least 0
  [[nodiscard]] bool truth(std::string_view key, bool otherwise) const;
  [[nodiscard]] std::string text(std::string_view key) const;  ///< empty without it
  [[nodiscard]] std::optional<std::vector<std::string>> texts(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<std::int64_t>> integers(std::string_view key) const;
  /// A nested configuration, such as "text_config".
  [[nodiscard]] std::optional<JsonValue> object(std::string_view key) const;
  [[nodiscard]] bool has(std::string_view key) const { return find(key).has_value(); }

  /// These say nothing about sizes or work in this architecture.
  void ignore(std::initializer_list<std::string_view> keys) const;
  /// \throws InputError naming the first key that was neither read nor is known to say nothing about sizes. A switch
  /// that
  ///   is off says nothing either.
  void expect_all_known() const;
  /// \throws InputError at the value of `key`
  [[noreturn]] void reject(std::string_view key, std::string_view expected) const;
  [[noreturn]] void fail(std::string_view message, std::string hint = {}) const {
    root_.fail(message, std::move(hint));
  }

 private:
  [[nodiscard]] std::optional<JsonValue> find(std::string_view key) const;
  const JsonValue& root_;
  UsualSizes usual_;
  mutable std::set<std::string, std::less<>> read_;
};

}  // namespace opweave::io
