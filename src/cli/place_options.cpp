#include "cli/place_options.h"

#include "cli/numbers.h"

namespace opweave::cli {

void PlaceOptions::add_to(CLI::App& command, const std::string& otherwise) {
  command.add_option(
      "--on", on,
      "where workers run: processes, ray (RAY_ADDRESS, or this machine) or ray://HOST:PORT [" + otherwise + "]");
  command.add_option("--workers", workers, "how many work at a time [all cores of the place]")
      ->check(whole_between(1, 100'000));
}

std::optional<distribute::Place> PlaceOptions::place() const {
  if (on.empty() || on == "threads") return std::nullopt;
  return distribute::parse_place(on);
}

}  // namespace opweave::cli
