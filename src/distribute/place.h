/// Where workers run.
#pragma once

#include <string>

namespace opweave::distribute {

struct Place {
  enum class Kind : unsigned char { kProcesses, kRay };
  Kind kind = Kind::kProcesses;
  std::string address;        ///< of a Ray cluster; empty = what RAY_ADDRESS says, or a cluster of this machine alone
  std::string name = "--on";  ///< by which users know it; errors begin with it
  std::string program;        ///< that workers run, as `PROGRAM worker`; empty = this one
  std::string python;         ///< the interpreter that speaks to Ray; empty = one beside this program, or of the path
};

/// "processes", "ray", "ray://HOST:PORT". \throws InputError for anything else
[[nodiscard]] Place parse_place(const std::string& text, const std::string& name = "--on");

}  // namespace opweave::distribute
