#include <fmt/format.h>

#include "io/json_writer.h"
#include "opweave/msr.h"

namespace opweave {

std::string msr_answer_to_json(const MsrInstance& instance, const MsrAnswer& answer, const MsrOptions& options) {
  io::JsonWriter json;
  json.open_object(io::JsonWriter::Layout::kBlock);
  json.member("format", "opweave.partition");
  json.member("version", std::int64_t{1});
  json.member("objective", to_string(options.objective));
  if (options.objective == MsrObjective::kThroughput) json.member("contiguity", to_string(options.contiguity));
  json.member("value_ms", answer.value);
  json.member("bound_ms", answer.bound);
  json.member("bound", answer.bound_name);
  json.member("proven", answer.proven);
  json.member("method", answer.method);
  json.key("placement");
  json.open_array(io::JsonWriter::Layout::kBlock);
  for (std::size_t node = 0; node < answer.placement.size(); ++node) {
    const std::uint32_t device = answer.placement[node];
    const bool on_accelerator = device < instance.accelerators;
    json.open_object(io::JsonWriter::Layout::kLine);
    json.member("node", instance.nodes[node].id);
    json.member("device",
                on_accelerator ? fmt::format("acc{}", device) : fmt::format("cpu{}", device - instance.accelerators));
    json.close_object();
  }
  json.close_array();
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
