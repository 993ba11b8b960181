/// The part of XML that descriptions of machines use: elements and attributes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace opweave::io {

struct XmlElement {
  std::string name;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<XmlElement> children;
  std::size_t offset = 0;  ///< of its "<" in the text

  /// Value of an attribute; nullptr without it.
  [[nodiscard]] const std::string* find(std::string_view attribute) const;
};

/// The root of a document. Comments, declarations and text between elements are skipped.
/// \throws InputError with line and column for anything else, and beyond 32 levels of nesting
[[nodiscard]] XmlElement parse_xml(std::string_view text, const std::string& source);

}  // namespace opweave::io
