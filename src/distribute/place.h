/// Where workers run.
#pragma once

#include <string>

namespace opweave::distribute {

struct Place {
  enum class Kind : unsigned char { kProcesses, kRay };
  Kind kind = Kind::kProcesses;
  std::string address;  ///< of a Ray cluster; empty = what RAY_ADDRESS says, or a cluster of this machine alone
};

/// "processes", "ray", "ray://HOST:PORT". \throws InputError for anything else
[[nodiscard]] Place parse_place(const std::string& text);

}  // namespace opweave::distribute
