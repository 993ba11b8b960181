#include "io/json_reader.h"

#include <fmt/format.h>

#include <cmath>

#include "io/foreign_files.h"
#include "io/formats.h"
#include "io/json_syntax.h"
#include "io/message.h"
#include "opweave/error.h"

namespace opweave::io {
namespace {

/// In JSON; a number as its double.
std::string describe(simdjson::dom::element element) {
  switch (element.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "an array";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::INT64:
      return fmt::format("{}", element.get_int64().value_unsafe());
    case simdjson::dom::element_type::UINT64:
      return fmt::format("{}", element.get_uint64().value_unsafe());
    case simdjson::dom::element_type::DOUBLE:
      return fmt::format("{}", element.get_double().value_unsafe());
    case simdjson::dom::element_type::STRING:
      return text_in_quotes(element.get_string().value_unsafe());
    case simdjson::dom::element_type::BOOL:
      return element.get_bool().value_unsafe() ? "true" : "false";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
  }
  throw InternalError("unknown type of JSON value");
}

}  // namespace

std::optional<WideInteger> JsonValue::whole() const {
  if (std::int64_t value = 0; element_.get_int64().get(value) == simdjson::SUCCESS) return value;
  if (std::uint64_t value = 0; element_.get_uint64().get(value) == simdjson::SUCCESS) return value;
  double number = 0;
  if (!element_.is_double() || element_.get_double().get(number) != simdjson::SUCCESS) return std::nullopt;
  if (std::trunc(number) != number) return std::nullopt;
  if (const std::string* written = document_->if_rounded(*this)) return whole_number(*written);
  return static_cast<std::int64_t>(number);
}

std::int64_t JsonValue::integer(std::int64_t least, std::int64_t most) const {
  const std::optional<WideInteger> value = whole();
  if (!value || *value < least || *value > most) reject(fmt::format("an integer of {} to {}", least, most));
  return static_cast<std::int64_t>(*value);
}

std::uint32_t JsonValue::index() const {
  return static_cast<std::uint32_t>(integer(0, std::numeric_limits<std::uint32_t>::max()));
}

std::uint64_t JsonValue::unsigned_integer() const {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const std::optional<WideInteger> value = whole();
  if (!value || *value < 0 || *value > WideInteger{kMost}) reject(fmt::format("an integer of 0 to {}", kMost));
  return static_cast<std::uint64_t>(*value);
}

double JsonValue::number(double least, double most) const {
  double value = 0;
  const bool is_number = element_.is_number() && element_.get_double().get(value) == simdjson::SUCCESS;
  if (is_number && value >= least && value <= most) return value;
  if (most == std::numeric_limits<double>::max()) reject(fmt::format("a number of at least {}", least));
  reject(fmt::format("a number of {} to {}", least, most));
}

double JsonValue::positive_number() const {
  double value = 0;
  const bool is_number = element_.is_number() && element_.get_double().get(value) == simdjson::SUCCESS;
  if (!is_number || !(value > 0)) reject("a positive number");
  return value;
}

bool JsonValue::boolean() const {
  bool value = false;
  if (element_.get_bool().get(value) != simdjson::SUCCESS) reject("true or false");
  return value;
}

std::string_view JsonValue::text() const {
  std::string_view value;
  if (element_.get_string().get(value) != simdjson::SUCCESS) reject("a string");
  // Whatever passes through a C interface would end there: a file name, a message, a name in a model file.
  if (value.find('\0') != std::string_view::npos) reject("a string without the character \\u0000");
  return value;
}

std::string_view JsonValue::name() const {
  if (std::string_view value; element_.get_string().get(value) != simdjson::SUCCESS || value.empty()) {
    reject("a string that is not empty");
  }
  return text();
}

simdjson::dom::object JsonValue::object() const {
  simdjson::dom::object value;
  if (element_.get_object().get(value) != simdjson::SUCCESS) reject("an object");
  return value;
}

simdjson::dom::array JsonValue::array() const {
  simdjson::dom::array value;
  if (element_.get_array().get(value) != simdjson::SUCCESS) reject("an array");
  return value;
}

std::size_t JsonValue::position() const {
  if (parent_ == nullptr || parent_->is_array()) return index_;
  return parent_->position();
}

std::string JsonValue::pointer() const {
  if (parent_ == nullptr) return {};
  if (parent_->is_array()) return fmt::format("{}/{}", parent_->pointer(), index_);
  return fmt::format("{}/{}", parent_->pointer(), escape_pointer(key_));
}

void JsonValue::fail(std::string_view message, std::string hint) const {
  const std::string where = pointer();
  throw error_in(source(), where.empty() ? std::string(message) : fmt::format("{}: {}", printable(where), message),
                 std::move(hint));
}

void JsonValue::reject(std::string_view expected, std::string hint) const {
  const std::string* written = element_.is_double() ? document_->if_rounded(*this) : nullptr;
  fail(fmt::format("value is {}, expected {}", written != nullptr ? printable(*written, 60) : describe(element_),
                   expected),
       std::move(hint));
}

void JsonValue::fail_unknown_key(std::string_view key, std::span<const std::string_view> known) const {
  fail(fmt::format("key {} is unknown", text_in_quotes(key)), did_you_mean(key, known));
}

void JsonValue::fail_repeated_key(std::string_view key) const {
  fail(fmt::format("key {} appears twice", text_in_quotes(key)));
}

void JsonValue::fail_key_with_zero(std::string_view key) const {
  fail(fmt::format("key is {}, expected one without the character \\u0000", text_in_quotes(key)));
}

void JsonValue::fail_missing_key(std::string_view key) const {
  fail(fmt::format("key {} is missing", text_in_quotes(key)));
}

JsonDocument::JsonDocument(std::string_view text, const std::string& source) : text_(text), source_(source) {
  simdjson::error_code error = parser_.allocate(0, kMaxJsonDepth);
  if (error == simdjson::SUCCESS) error = parser_.parse(text.data(), text.size()).get(root_);
  if (error != simdjson::SUCCESS) {
    if (!text.starts_with('{')) refuse_foreign(text, source, "JSON of opweave");
    throw_json_syntax_error(text, source, simdjson::error_message(error));
  }
}

const std::string* JsonDocument::if_rounded(const JsonValue& number) const {
  if (!rounded_) rounded_ = rounded_numbers(text_);
  if (rounded_->empty()) return nullptr;
  const auto found = rounded_->find(number.pointer());
  return found == rounded_->end() ? nullptr : &found->second;
}

JsonValue JsonDocument::root(std::string_view format, std::int64_t newest) const {
  const JsonValue value = root();
  require_format(value, format, newest);
  return value;
}

void require_format(const JsonValue& value, std::string_view format, std::int64_t newest) {
  // Before anything else: the wrong file is told from the misspelt key.
  refuse_foreign(value, text_in_quotes(format));
  std::optional<JsonValue> stated_format;
  std::optional<JsonValue> stated_version;
  read_object<OtherKeys::kIgnore>(value, required("format", keep(stated_format)),
                                  required("version", keep(stated_version)));
  if (stated_format->text() != format) {
    stated_format->reject(text_in_quotes(format), stated_format->text() == kPipelineFormat
                                                      ? "`opweave convert pipeline` makes a graph and a cluster of it"
                                                      : "");
  }
  if (const std::int64_t number = stated_version->integer(1); number > newest) {
    stated_version->reject(newest == 1 ? "1" : fmt::format("1 to {}", newest), "the file needs a newer opweave");
  }
}

void NameIndex::add(const JsonValue& name, std::string_view kind) {
  const Owner owner{static_cast<std::uint32_t>(owners_.size()), static_cast<std::uint32_t>(name.position()), kind};
  const auto [place, is_new] = owners_.emplace(name.name(), owner);
  if (is_new) return;
  const Owner& first = place->second;
  name.fail(
      fmt::format("value is {}, already the name of {} {}", text_in_quotes(place->first), first.kind, first.position));
}

std::uint32_t NameIndex::resolve(const JsonValue& value, std::string_view what) const {
  const auto found = owners_.find(value.text());
  if (found == owners_.end()) value.reject(fmt::format("the name of {}", what));
  return found->second.number;
}

std::optional<std::uint32_t> NameIndex::find(std::string_view name) const {
  const auto found = owners_.find(name);
  return found == owners_.end() ? std::nullopt : std::optional(found->second.number);
}

}  // namespace opweave::io
