/// Where the work of a command is done.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "distribute/place.h"

namespace opweave::cli {

struct PlaceOptions {
  std::string on;
  std::size_t workers = 0;  ///< 0: as many as the place has cores

  /// `otherwise` = what is done without --on, for the help.
  void add_to(CLI::App& command, const std::string& otherwise);
  /// Nothing for "threads" and where nothing was said. \throws InputError
  [[nodiscard]] std::optional<distribute::Place> place() const;
};

}  // namespace opweave::cli
