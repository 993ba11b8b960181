#include <fmt/format.h>

#include <cstdint>

#include "opweave/io.h"
#include "opweave/model.h"

namespace opweave {
namespace {

/// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923). Tells apart what people confuse, not what they forge.
std::string fnv1a(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::string content_hash(const ComputationGraph& graph) { return fnv1a(graph_to_json(graph)); }
std::string text_hash(std::string_view text) { return fnv1a(text); }
std::string content_hash(const ModelDescription& model) { return fnv1a(model_to_json(model)); }
std::string content_hash(const Cluster& cluster) { return fnv1a(cluster_to_json(cluster)); }

}  // namespace opweave
