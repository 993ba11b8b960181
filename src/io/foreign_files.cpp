#include "io/foreign_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "io/message.h"
#include "io/pytorch_cells.h"
#include "opweave/topology.h"

namespace opweave::io {
namespace {

constexpr const char* kCapture = "opweave.capture(model, inputs) in Python makes a graph of the model itself";

bool is_onnx(std::string_view text) {
  // A protocol buffer whose first field is the version of the format (13 at present).
  return text.size() > 2 && text[0] == '\x08' && text[1] > 0 && text[1] < 32 && (text[2] == '\x12' || text[2] == ':');
}

bool is_chakra(std::string_view text) {
  // Messages of protocol buffers, each after its length; the first one states the version of the schema.
  return text.size() > 8 && text[1] == '\x0a' && text.substr(2, 8).find("0.0.") != std::string_view::npos;
}

bool is_schedule(std::string_view text) {
  const std::size_t end = text.find_first_of(",\r\n");
  std::string_view cell = text.substr(0, end);
  if (cell.size() > 1 && cell.front() == '"' && cell.back() == '"') cell = cell.substr(1, cell.size() - 2);
  return end != std::string_view::npos && detail::cell_from_string(cell).has_value();
}

bool is_job_shop(std::string_view text) {
  return text.find_first_of("0123456789") < text.find('\n') && text.find('\n') != std::string_view::npos &&
         text.find_first_of(" \t") < text.find('\n') &&
         text.find_first_not_of("0123456789. \t\r\n") == std::string_view::npos;
}

[[noreturn]] void refuse(const ForeignFile& file, const std::string& source, std::string_view expected) {
  constexpr std::string_view kPlaceholder = "FILE";
  std::string hint = file.hint;
  const std::string name = printable(source, 200);
  if (const auto at = hint.find(kPlaceholder); at != std::string::npos) hint.replace(at, kPlaceholder.size(), name);
  throw error_in(source, fmt::format("is {}, expected {}", file.what, expected), std::move(hint));
}

}  // namespace

std::optional<ForeignFile> recognise(std::string_view text) {
  constexpr std::string_view kZip = "PK\x03\x04";
  constexpr std::string_view kGzip = "\x1f\x8b";
  constexpr std::size_t kSafetensorsHeader = 8;
  if (is_topology(text)) {
    return ForeignFile{"a topology of NCCL or nvidia-smi", "opweave convert topology FILE -o cluster.json reads it"};
  }
  if (is_onnx(text)) {
    return ForeignFile{"an ONNX file", "opweave.capture_onnx(\"FILE\") in Python makes a graph of it"};
  }
  if (text.starts_with(kZip)) return ForeignFile{"a saved model of PyTorch (zip)", kCapture};
  if (text.size() > kSafetensorsHeader && text[kSafetensorsHeader] == '{' && text[kSafetensorsHeader - 1] == '\0') {
    return ForeignFile{"a file of weights (safetensors)", kCapture};
  }
  if (text.starts_with(kGzip)) {
    return ForeignFile{"packed by gzip",
                       "unpack it first; a trace of the PyTorch profiler goes to "
                       "opweave.costs.profiled(graph, \"FILE\") in Python as it is"};
  }
  if (is_chakra(text)) return ForeignFile{"a Chakra trace", kCapture};
  if (is_schedule(text)) {
    return ForeignFile{"a pipeline schedule (CSV)", "opweave convert csv FILE GRAPH CLUSTER -o plan.json reads it"};
  }
  if (is_job_shop(text)) {
    return ForeignFile{
        "a job shop",
        "opweave convert fjs FILE -o graph.json --cluster cluster.json reads it, convert jsp one without "
        "choices of machines"};
  }
  return std::nullopt;
}

std::optional<ForeignFile> recognise(simdjson::dom::element root) {
  simdjson::dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) return std::nullopt;
  const auto has = [&](std::string_view key) { return object.at_key(key).error() == simdjson::SUCCESS; };
  if (has("model_type") || has("architectures")) {
    return ForeignFile{"a model configuration of Hugging Face",
                       "opweave.capture(model, inputs) in Python makes a graph of "
                       "transformers.AutoModelForCausalLM.from_config(...)"};
  }
  if (has("weight_map")) return ForeignFile{"an index of weights", kCapture};
  if (has("traceEvents")) {
    return ForeignFile{"a trace of the PyTorch profiler",
                       "opweave.costs.profiled(graph, \"FILE\") in Python takes durations from it"};
  }
  if (has("maxFPGAs") && has("nodes")) {
    return ForeignFile{"a placement instance",
                       "opweave convert msr FILE -o graph.json --cluster cluster.json reads it"};
  }
  if (has("schema") && has("nodes")) return ForeignFile{"an execution trace of PyTorch (Chakra)", kCapture};
  return std::nullopt;
}

void refuse_foreign(std::string_view text, const std::string& source, std::string_view expected) {
  if (const auto foreign = recognise(text)) refuse(*foreign, source, expected);
  if (text.empty() || text.find_first_not_of(" \t\r\n") != text.find('{')) return;
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(text.data(), text.size()).get(root) != simdjson::SUCCESS) return;
  if (const auto foreign = recognise(root)) refuse(*foreign, source, expected);
  std::string_view format;
  const bool is_ours = root["format"].get_string().get(format) == simdjson::SUCCESS && format.starts_with("opweave.");
  refuse({is_ours ? fmt::format("an {}", format) : "JSON", ""}, source, expected);
}

void refuse_foreign(const JsonValue& root, std::string_view expected) {
  if (const auto foreign = recognise(root.element())) refuse(*foreign, root.source(), expected);
}

}  // namespace opweave::io
