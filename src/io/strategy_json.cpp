#include "io/strategy_json.h"

#include <algorithm>

#include "io/formats.h"
#include "io/json_writer.h"
#include "opweave/error.h"

namespace opweave::io {
namespace {

constexpr std::int64_t kMostCount = 1'000'000'000;
constexpr std::int64_t kMostRanks = 10'000'000;

auto count_into(std::int64_t& target, std::int64_t least = 1) {
  return [&target, least](const JsonValue& value) { target = value.integer(least, kMostCount); };
}
auto ranks_into(std::uint32_t& target) {
  return [&target](const JsonValue& value) { target = static_cast<std::uint32_t>(value.integer(1, kMostRanks)); };
}
auto truth_into(bool& target) {
  return [&target](const JsonValue& value) { target = value.boolean(); };
}
auto rate_into(double& target) {
  return [&target](const JsonValue& value) { target = value.positive_number(); };
}
template <class Enumerator>
auto word_into(Enumerator& target, std::optional<Enumerator> (*from_string)(std::string_view), const char* expected) {
  return [&target, from_string, expected](const JsonValue& value) {
    const auto found = from_string(value.text());
    if (!found) value.reject(expected);
    target = *found;
  };
}

LatentAttention read_latent(const JsonValue& value) {
  LatentAttention latent;
  read_object(value, optional("query_rank", count_into(latent.query_rank, 0)),
              required("key_value_rank", count_into(latent.key_value_rank)),
              optional("position_dim", count_into(latent.position_dim, 0)),
              required("value_dim", count_into(latent.value_dim)));
  return latent;
}

Attention read_attention(const JsonValue& value) {
  Attention attention;
  std::int64_t kv_heads = 0;
  std::int64_t window = 0;
  read_object(value, required("heads", count_into(attention.heads)), optional("kv_heads", count_into(kv_heads)),
              required("head_dim", count_into(attention.head_dim)), optional("window", count_into(window)),
              optional("causal", truth_into(attention.is_causal)), optional("gate", truth_into(attention.has_gate)),
              optional("latent", [&](const JsonValue& part) { attention.latent = read_latent(part); }));
  attention.kv_heads = kv_heads > 0 ? kv_heads : attention.heads;
  if (window > 0) attention.window = window;
  return attention;
}

Recurrence read_recurrence(const JsonValue& value) {
  Recurrence recurrence;
  std::int64_t key_heads = 0;
  read_object(
      value,
      required("update", word_into(recurrence.update, state_update_from_string,
                                   "\"decay\", \"delta\", \"scan\", \"average\", \"convolve\" or \"lru\"")),
      required("heads", count_into(recurrence.heads)), optional("key_heads", count_into(key_heads)),
      required("key_dim", count_into(recurrence.key_dim)), required("value_dim", count_into(recurrence.value_dim)),
      optional("decays", count_into(recurrence.decays, 0)),
      optional("decay_rank", count_into(recurrence.decay_rank, 0)),
      optional("convolution", count_into(recurrence.convolution, 0)), optional("gate", truth_into(recurrence.has_gate)),
      optional("gate_rank", count_into(recurrence.gate_rank, 0)));
  recurrence.key_heads = key_heads > 0 ? key_heads : recurrence.heads;
  return recurrence;
}

Experts read_experts(const JsonValue& value) {
  Experts experts;
  read_object(value, required("count", count_into(experts.count)), required("active", count_into(experts.active)),
              required("width", count_into(experts.expert.width)),
              optional("gated", truth_into(experts.expert.is_gated)),
              optional("shared_width", count_into(experts.shared_width, 0)));
  return experts;
}

ModelComponent read_component(const JsonValue& value) {
  ModelComponent component;
  std::int64_t tokens = 0;
  read_object(value, required("name", [&](const JsonValue& part) { component.name = part.name(); }),
              required("hidden", count_into(component.hidden)), optional("tokens", count_into(tokens)),
              optional("other_parameters", count_into(component.other_parameters, 0)));
  if (tokens > 0) component.tokens = tokens;
  return component;
}

std::size_t component_named(const ModelDescription& model, const JsonValue& value) {
  const auto found = std::ranges::find(model.components, value.text(), &ModelComponent::name);
  if (found == model.components.end()) value.reject("the name of a component");
  return static_cast<std::size_t>(found - model.components.begin());
}

CrossAttention read_cross(const ModelDescription& model, const JsonValue& value) {
  CrossAttention cross;
  cross.attention.is_causal = false;
  std::int64_t kv_heads = 0;
  read_object(value, required("from", [&](const JsonValue& part) { cross.from = component_named(model, part); }),
              required("heads", count_into(cross.attention.heads)), optional("kv_heads", count_into(kv_heads)),
              required("head_dim", count_into(cross.attention.head_dim)));
  cross.attention.kv_heads = kv_heads > 0 ? kv_heads : cross.attention.heads;
  return cross;
}

LayerRun read_layers(const ModelDescription& model, const JsonValue& value) {
  LayerRun run;
  // What a layer does not have is said, so that nothing is left out by mistake.
  bool says_attention = false;
  bool says_mlp = false;
  const auto read_own_attention = [&](const JsonValue& part) {
    if (!part.element().is_null()) run.attention = read_attention(part);
    says_attention = true;
  };
  const auto read_mlp = [&](const JsonValue& part) {
    says_mlp = true;
    if (part.element().is_null()) return;
    read_object(part, required("width", count_into(run.mlp.width)), optional("gated", truth_into(run.mlp.is_gated)),
                optional("result_gate", truth_into(run.mlp.has_result_gate)));
  };
  read_object(value, optional("count", count_into(run.count)),
              optional("component", [&](const JsonValue& part) { run.component = component_named(model, part); }),
              optional("attention", read_own_attention),
              optional("recurrence", [&](const JsonValue& part) { run.recurrence = read_recurrence(part); }),
              optional("cross_attention", [&](const JsonValue& part) { run.cross = read_cross(model, part); }),
              optional("predicts_ahead", truth_into(run.predicts_ahead)), optional("mlp", read_mlp),
              optional("experts", [&](const JsonValue& part) { run.experts = read_experts(part); }),
              optional("other_parameters", count_into(run.other_parameters, 0)));
  if (!says_attention && !run.recurrence) {
    value.fail("expected \"attention\" (null in a layer without) or \"recurrence\"");
  }
  if (says_mlp == run.experts.has_value()) {
    value.fail("expected either \"mlp\" (null in a layer without) or \"experts\"");
  }
  return run;
}

ModuleSet read_modules(const JsonValue& list) {
  ModuleSet modules;
  list.each([&](const JsonValue& item) {
    const auto module = layer_module_from_string(item.text());
    if (!module) {
      item.reject(
          "one of \"core_attn\", \"moe_act\", \"layernorm\", \"mla_up_proj\", \"mlp\", \"moe\", \"shared_experts\" and "
          "\"selective_ac\"");
    }
    modules.add(*module);
  });
  return modules;
}

/// "attention" is what files before modules had names said of the core of attention.
void read_recompute(const JsonValue& value, Strategy& strategy) {
  const bool is_old = value.text() == "attention";
  const auto found = recompute_from_string(is_old ? "selective" : value.text());
  if (!found) value.reject("\"none\", \"selective\" or \"full\"");
  strategy.recompute = *found;
  if (is_old) strategy.recomputed_modules.add(LayerModule::kCoreAttention);
}

ComponentMesh read_component_mesh(const JsonValue& value) {
  ComponentMesh mesh;
  read_object(value, required("name", [&](const JsonValue& part) { mesh.name = part.name(); }),
              optional("tensor", ranks_into(mesh.tensor)),
              optional("sequence_parallel", truth_into(mesh.has_sequence_parallelism)),
              optional("context", ranks_into(mesh.context)), optional("data", ranks_into(mesh.data)),
              optional("pipeline", ranks_into(mesh.pipeline)));
  return mesh;
}

}  // namespace

ModelDescription read_model(const JsonValue& value) {
  ModelDescription model;
  const auto skip = [](const JsonValue&) {};
  std::optional<JsonValue> layers;
  read_object(value, optional("format", skip), optional("version", skip), optional("name", text_into(model.name)),
              required("hidden", count_into(model.hidden)), required("vocabulary", count_into(model.vocabulary, 0)),
              optional("tied_embeddings", truth_into(model.has_tied_embeddings)),
              optional("other_parameters", count_into(model.other_parameters, 0)),
              optional("components",
                       [&](const JsonValue& list) {
                         list.each([&](const JsonValue& item) { model.components.push_back(read_component(item)); });
                       }),
              required("layers", keep(layers)));
  layers->each([&](const JsonValue& item) { model.layers.push_back(read_layers(model, item)); });
  try {
    validate(model);
  } catch (const InputError& error) {
    value.fail(error.what(), error.hint());
  }
  return model;
}

Machines read_machines(const JsonValue& value) {
  std::optional<JsonValue> device;
  std::optional<JsonValue> per_node;
  std::uint32_t nodes = 1;
  double node_bandwidth = 0;
  double fabric_bandwidth = 0;
  double memory_bandwidth = 0;
  double host_bandwidth = 0;
  std::int64_t memory = 0;
  std::optional<Bytes> host_memory;
  const auto skip = [](const JsonValue&) {};
  const auto memory_into = [&](const JsonValue& part) { memory = part.integer(1); };
  const auto host_memory_into = [&](const JsonValue& part) { host_memory = Bytes(part.integer()); };
  read_object(value, optional("format", skip), optional("version", skip), required("device", keep(device)),
              optional("nodes", ranks_into(nodes)), optional("devices_per_node", keep(per_node)),
              optional("memory_bytes", memory_into),
              optional("memory_bandwidth_bytes_per_s", rate_into(memory_bandwidth)),
              optional("node_bandwidth_bytes_per_s", rate_into(node_bandwidth)),
              optional("fabric_bandwidth_bytes_per_s", rate_into(fabric_bandwidth)),
              optional("host_bandwidth_bytes_per_s", rate_into(host_bandwidth)),
              optional("host_memory_bytes", host_memory_into));
  Machines machines;
  try {
    machines = machines_named(device->text());
  } catch (const InputError& error) {
    device->fail(error.what(), error.hint());
  }
  machines.nodes = nodes;
  if (per_node) machines.devices_per_node = static_cast<std::uint32_t>(per_node->integer(1, kMostRanks));
  if (memory > 0) machines.device.memory = Bytes(memory);
  if (memory_bandwidth > 0) machines.device.memory_bandwidth = memory_bandwidth;
  if (node_bandwidth > 0) machines.device.node_bandwidth = node_bandwidth;
  if (host_bandwidth > 0) machines.device.host_bandwidth = host_bandwidth;
  if (host_memory) machines.device.host_memory = *host_memory;
  if (fabric_bandwidth > 0) machines.fabric_bandwidth = fabric_bandwidth;
  return machines;
}

TrainingRun read_run(const JsonValue& value) {
  TrainingRun run;
  read_object(value, required("global_batch", count_into(run.global_batch)),
              required("sequence", count_into(run.sequence)),
              optional("precision", word_into(run.precision, precision_from_string, "\"bf16\" or \"fp8\"")),
              optional("bf16_gradients", truth_into(run.has_bf16_gradients)),
              optional("bf16_moments", truth_into(run.has_bf16_moments)),
              optional("fused_loss", truth_into(run.has_fused_loss)));
  return run;
}

Strategy read_strategy(const JsonValue& value) {
  Strategy strategy;
  const auto skip = [](const JsonValue&) {};
  const auto read_layers_per_stage = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) { strategy.layers_per_stage.push_back(item.index()); });
  };
  const auto read_recomputed = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) { strategy.recomputed_per_stage.push_back(item.index()); });
  };
  const auto share_into = [](double& target) {
    return [&target](const JsonValue& item) { target = item.number(0, 1); };
  };
  const auto read_modules_per_stage = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) { strategy.modules_per_stage.push_back(read_modules(item)); });
  };
  const auto read_offload_per_stage = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) { strategy.offload_per_stage.push_back(item.number(0, 1)); });
  };
  const auto read_components = [&](const JsonValue& list) {
    list.each([&](const JsonValue& item) {
      if (strategy.component) item.fail("a second component, expected one with a mesh of its own");
      strategy.component = read_component_mesh(item);
    });
  };
  read_object(
      value, optional("format", skip), optional("version", skip), optional("for", skip),
      optional("components", read_components), optional("tensor", ranks_into(strategy.tensor)),
      optional("sequence_parallel", truth_into(strategy.has_sequence_parallelism)),
      optional("context", ranks_into(strategy.context)), optional("data", ranks_into(strategy.data)),
      optional("pipeline", ranks_into(strategy.pipeline)), optional("chunks", ranks_into(strategy.chunks)),
      optional("expert", ranks_into(strategy.expert)), optional("expert_tensor", ranks_into(strategy.expert_tensor)),
      optional("micro_batch", ranks_into(strategy.micro_batch)),
      optional("sharding", word_into(strategy.sharding, sharding_from_string,
                                     "\"none\", \"optimizer\", \"gradients\" or \"weights\"")),
      optional("recompute", [&](const JsonValue& item) { read_recompute(item, strategy); }),
      optional("recomputed_layers", [&](const JsonValue& item) { strategy.recomputed_layers = item.index(); }),
      optional("recomputed_per_stage", read_recomputed),
      optional("recomputed_modules", [&](const JsonValue& list) { strategy.recomputed_modules = read_modules(list); }),
      optional("modules_per_stage", read_modules_per_stage),
      optional("activation_offload", share_into(strategy.activation_offload)),
      optional("offload_per_stage", read_offload_per_stage),
      optional("optimizer_offload", share_into(strategy.optimizer_offload)),
      optional("schedule", word_into(strategy.schedule, pipeline_kind_from_string,
                                     "\"1F1B\", \"Interleaved-1F1B\", \"ZB1P\", \"ZB-2P\" or \"DualPipe\"")),
      optional("overlaps_tensor", truth_into(strategy.overlaps_tensor)),
      optional("overlaps_data", truth_into(strategy.overlaps_data)),
      optional("layers_per_stage", read_layers_per_stage));
  return strategy;
}

}  // namespace opweave::io

namespace opweave {

Strategy parse_strategy(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return io::read_strategy(document.root(io::kStrategyFormat, io::kStrategyVersionWithMore));
}

Machines parse_machines(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return io::read_machines(document.root(io::kMachinesFormat, io::kFormatVersion));
}

namespace {

void write_modules(io::JsonWriter& json, ModuleSet modules) {
  json.open_array(io::JsonWriter::Layout::kLine);
  for (std::size_t i = 0; i < kLayerModules; ++i) {
    const auto module = static_cast<LayerModule>(i);
    if (modules.has(module)) json.value(to_string(module));
  }
  json.close_array();
}

void write_component(io::JsonWriter& json, const ComponentMesh& mesh) {
  json.open_object(io::JsonWriter::Layout::kLine);
  json.member("name", mesh.name);
  json.member("tensor", mesh.tensor);
  json.member("sequence_parallel", mesh.has_sequence_parallelism);
  json.member("context", mesh.context);
  json.member("data", mesh.data);
  json.member("pipeline", mesh.pipeline);
  json.close_object();
}

}  // namespace

std::string strategy_to_json(const Strategy& strategy) {
  return io::strategy_document(strategy, strategy.component ? io::kStrategyVersionWithMore : io::kFormatVersion);
}

std::string io::strategy_document(const Strategy& strategy, std::uint32_t version) {
  io::JsonWriter json;
  json.open_object(io::JsonWriter::Layout::kBlock);
  json.member("format", io::kStrategyFormat);
  json.member("version", version);
  if (strategy.component) {
    json.key("components");
    json.open_array(io::JsonWriter::Layout::kBlock);
    write_component(json, *strategy.component);
    json.close_array();
  }
  json.member("tensor", strategy.tensor);
  json.member("sequence_parallel", strategy.has_sequence_parallelism);
  json.member("context", strategy.context);
  json.member("data", strategy.data);
  json.member("pipeline", strategy.pipeline);
  json.member("chunks", strategy.chunks);
  json.member("expert", strategy.expert);
  json.member("expert_tensor", strategy.expert_tensor);
  json.member("micro_batch", strategy.micro_batch);
  json.member("sharding", to_string(strategy.sharding));
  json.member("recompute", to_string(strategy.recompute));
  if (strategy.recomputed_layers) json.member("recomputed_layers", *strategy.recomputed_layers);
  if (!strategy.recomputed_per_stage.empty()) json.list("recomputed_per_stage", strategy.recomputed_per_stage);
  if (!strategy.recomputed_modules.empty()) {
    json.key("recomputed_modules");
    write_modules(json, strategy.recomputed_modules);
  }
  if (!strategy.modules_per_stage.empty()) {
    json.key("modules_per_stage");
    json.open_array(io::JsonWriter::Layout::kLine);
    for (const ModuleSet modules : strategy.modules_per_stage) write_modules(json, modules);
    json.close_array();
  }
  if (strategy.activation_offload > 0) json.member("activation_offload", strategy.activation_offload);
  if (!strategy.offload_per_stage.empty()) json.list("offload_per_stage", strategy.offload_per_stage);
  if (strategy.optimizer_offload > 0) json.member("optimizer_offload", strategy.optimizer_offload);
  json.member("schedule", to_string(strategy.schedule));
  json.member("overlaps_tensor", strategy.overlaps_tensor);
  json.member("overlaps_data", strategy.overlaps_data);
  if (!strategy.layers_per_stage.empty()) json.list("layers_per_stage", strategy.layers_per_stage);
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
