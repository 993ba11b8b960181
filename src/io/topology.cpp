#include "opweave/topology.h"

#include "io/foreign_files.h"
#include "io/topology_parts.h"

namespace opweave {
namespace {

bool is_nccl_topology(std::string_view text) {
  const std::size_t start = text.find("<system");
  // Declarations and comments may stand before it.
  return start != std::string_view::npos && text.find_first_not_of(" \t\r\n\xEF\xBB\xBF") == text.find('<') &&
         text.find("<cpu") != std::string_view::npos;
}

}  // namespace

bool is_topology(std::string_view text) { return is_nccl_topology(text) || io::is_topology_matrix(text); }

Cluster parse_topology(std::string_view text, const std::string& source, const TopologyOptions& options) {
  if (io::is_topology_matrix(text)) return io::parse_topology_matrix(text, source, options);
  if (!is_nccl_topology(text)) io::refuse_foreign(text, source, "a topology of NCCL or nvidia-smi");
  return io::parse_nccl_topology(text, source, options);
}

}  // namespace opweave
