#include "distribute/place.h"

#include <fmt/format.h>

#include "io/message.h"
#include "opweave/error.h"

namespace opweave::distribute {

Place parse_place(const std::string& text, const std::string& name) {
  Place place;
  place.name = name;
  if (text == "processes") return place;
  place.kind = Place::Kind::kRay;
  if (text == "ray") return place;
  constexpr std::string_view kClient = "ray://";
  if (text.starts_with(kClient) && text.size() > kClient.size()) {
    place.address = text;
    return place;
  }
  throw InputError(
      fmt::format("{}: value is {}, expected processes, ray or ray://HOST:PORT", name, io::text_in_quotes(text)));
}

}  // namespace opweave::distribute
