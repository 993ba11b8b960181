#include "io/xml_reader.h"

#include <algorithm>
#include <array>

#include "io/json_syntax.h"
#include "io/message.h"

namespace opweave::io {
namespace {

constexpr std::size_t kMaxDepth = 32;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool ends_name(char c) { return is_blank(c) || c == '=' || c == '>' || c == '/' || c == '<' || c == '"' || c == '\''; }

class XmlParser {
 public:
  XmlParser(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  XmlElement document() {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    skip_between();
    if (!text_.substr(at_).starts_with('<')) fail("expected an element of XML");
    XmlElement root = element(1);
    skip_between();
    if (at_ < text_.size()) fail("expected the end of the file after <" + root.name + ">");
    return root;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw error_in(source_, line_and_column(text_, std::min(at_, text_.size())) + ": " + printable(message));
  }
  [[nodiscard]] bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  void skip_past(std::string_view end) {
    const std::size_t found = text_.find(end, at_);
    if (found == std::string_view::npos) fail("expected \"" + std::string(end) + "\"");
    at_ = found + end.size();
  }
  /// Comments, declarations and blanks between elements.
  void skip_between() {
    while (true) {
      skip_blanks();
      if (starts("<!--")) {
        skip_past("-->");
      } else if (starts("<?")) {
        skip_past("?>");
      } else {
        return;
      }
    }
  }
  std::string name() {
    const std::size_t start = at_;
    while (at_ < text_.size() && !ends_name(text_[at_])) ++at_;
    if (at_ == start) fail("expected a name");
    return std::string(text_.substr(start, at_ - start));
  }

  XmlElement element(std::size_t depth) {
    if (depth > kMaxDepth) fail("elements are nested deeper than " + std::to_string(kMaxDepth) + " levels");
    XmlElement result;
    result.offset = at_;
    ++at_;
    result.name = name();
    while (true) {
      skip_blanks();
      if (starts("/>")) {
        at_ += 2;
        return result;
      }
      if (starts(">")) break;
      result.attributes.push_back(attribute());
    }
    ++at_;
    while (true) {
      at_ = std::min(text_.find('<', at_), text_.size());
      skip_between();
      if (starts("</")) break;
      if (starts("<")) {
        result.children.push_back(element(depth + 1));
      } else if (at_ >= text_.size()) {
        fail("expected </" + result.name + ">");
      }
    }
    at_ += 2;
    if (const std::string closed = name(); closed != result.name) {
      fail("found </" + closed + ">, expected </" + result.name + ">");
    }
    skip_blanks();
    if (!starts(">")) fail("expected \">\"");
    ++at_;
    return result;
  }

  std::pair<std::string, std::string> attribute() {
    std::string key = name();
    skip_blanks();
    if (!starts("=")) fail("expected \"=\" after attribute " + text_in_quotes(key));
    ++at_;
    skip_blanks();
    if (!starts("\"") && !starts("'")) fail("expected the value of attribute " + text_in_quotes(key) + " in quotes");
    const char quote = text_[at_++];
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("expected the end of attribute " + text_in_quotes(key));
    std::string value = unescaped(text_.substr(at_, end - at_));
    at_ = end + 1;
    return {std::move(key), std::move(value)};
  }

  static std::string unescaped(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, char>, 5> kEntities = {
        {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}}};
    std::string result;
    while (!text.empty()) {
      const auto entity = std::ranges::find_if(kEntities, [&](const auto& e) { return text.starts_with(e.first); });
      const bool found = entity != kEntities.end();
      result += found ? entity->second : text.front();
      text.remove_prefix(found ? entity->first.size() : 1);
    }
    return result;
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0;
};

}  // namespace

const std::string* XmlElement::find(std::string_view attribute) const {
  const auto found = std::ranges::find(attributes, attribute, &std::pair<std::string, std::string>::first);
  return found == attributes.end() ? nullptr : &found->second;
}

XmlElement parse_xml(std::string_view text, const std::string& source) { return XmlParser(text, source).document(); }

}  // namespace opweave::io
