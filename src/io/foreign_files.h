/// Files of others that end up where one of ours is expected: what they are, and what reads them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "io/json_reader.h"

namespace opweave::io {

struct ForeignFile {
  std::string what;  ///< "an ONNX file"
  std::string hint;  ///< the command or call that reads it
};

/// What a text is that is no JSON of ours; nothing for one that is not known.
[[nodiscard]] std::optional<ForeignFile> recognise(std::string_view text);
/// The same for a document of JSON.
[[nodiscard]] std::optional<ForeignFile> recognise(simdjson::dom::element root);

/// \throws InputError "<source>: is <what>, expected <expected>" with the hint if the text is known
void refuse_foreign(std::string_view text, const std::string& source, std::string_view expected);
/// The same for a document of JSON.
void refuse_foreign(const JsonValue& root, std::string_view expected);

}  // namespace opweave::io
