#include "distribute/place.h"

#include <fmt/format.h>

#include "io/message.h"
#include "opweave/error.h"

namespace opweave::distribute {

Place parse_place(const std::string& text) {
  if (text == "processes") return {Place::Kind::kProcesses, {}};
  if (text == "ray") return {Place::Kind::kRay, {}};
  constexpr std::string_view kClient = "ray://";
  if (text.starts_with(kClient) && text.size() > kClient.size()) return {Place::Kind::kRay, text};
  throw InputError(
      fmt::format("--on: value is {}, expected processes, ray or ray://HOST:PORT", io::text_in_quotes(text)));
}

}  // namespace opweave::distribute
