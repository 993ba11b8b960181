#include "report/page.h"

namespace opweave {

std::string filled_page(std::string_view before, std::string_view json, std::string_view after) {
  std::string html(before);
  for (const char c : json) {
    if (c == '<') {
      html += "\\u003c";
    } else {
      html += c;
    }
  }
  return html.append(after);
}

}  // namespace opweave
