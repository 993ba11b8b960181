#include "io/formats.h"
#include "io/json_writer.h"
#include "io/strategy_json.h"
#include "opweave/model.h"

namespace opweave {
namespace {

using io::JsonWriter;
using Layout = JsonWriter::Layout;

void write(JsonWriter& json, const Attention& attention) {
  json.open_object(Layout::kLine);
  json.member("heads", attention.heads);
  if (attention.kv_heads != attention.heads) json.member("kv_heads", attention.kv_heads);
  json.member("head_dim", attention.head_dim);
  if (attention.window) json.member("window", *attention.window);
  if (!attention.is_causal) json.member("causal", false);
  if (attention.has_gate) json.member("gate", true);
  if (attention.latent) {
    json.key("latent");
    json.open_object(Layout::kLine);
    if (attention.latent->query_rank > 0) json.member("query_rank", attention.latent->query_rank);
    json.member("key_value_rank", attention.latent->key_value_rank);
    json.member("position_dim", attention.latent->position_dim);
    json.member("value_dim", attention.latent->value_dim);
    json.close_object();
  }
  json.close_object();
}

void write(JsonWriter& json, const Recurrence& recurrence) {
  json.open_object(Layout::kLine);
  json.member("update", to_string(recurrence.update));
  json.member("heads", recurrence.heads);
  if (recurrence.key_heads != recurrence.heads) json.member("key_heads", recurrence.key_heads);
  json.member("key_dim", recurrence.key_dim);
  json.member("value_dim", recurrence.value_dim);
  if (recurrence.decays > 0) json.member("decays", recurrence.decays);
  if (recurrence.decay_rank > 0) json.member("decay_rank", recurrence.decay_rank);
  if (recurrence.convolution > 0) json.member("convolution", recurrence.convolution);
  if (recurrence.has_gate) json.member("gate", true);
  if (recurrence.gate_rank > 0) json.member("gate_rank", recurrence.gate_rank);
  json.close_object();
}

void write(JsonWriter& json, const ModelComponent& component) {
  json.open_object(Layout::kLine);
  json.member("name", component.name);
  json.member("hidden", component.hidden);
  if (component.tokens) json.member("tokens", *component.tokens);
  if (component.other_parameters > 0) json.member("other_parameters", component.other_parameters);
  json.close_object();
}

void write(JsonWriter& json, const ModelDescription& model, const LayerRun& run) {
  json.open_object(Layout::kBlock);
  json.member("count", run.count);
  if (run.component) json.member("component", model.components[*run.component].name);
  if (run.attention.heads > 0) {
    json.key("attention");
    write(json, run.attention);
  } else if (!run.recurrence) {
    json.key("attention");
    json.null();
  }
  if (run.recurrence) {
    json.key("recurrence");
    write(json, *run.recurrence);
  }
  if (run.cross) {
    json.key("cross_attention");
    json.open_object(Layout::kLine);
    json.member("from", model.components[run.cross->from].name);
    json.member("heads", run.cross->attention.heads);
    if (run.cross->attention.kv_heads != run.cross->attention.heads) {
      json.member("kv_heads", run.cross->attention.kv_heads);
    }
    json.member("head_dim", run.cross->attention.head_dim);
    json.close_object();
  }
  if (run.experts) {
    json.key("experts");
    json.open_object(Layout::kLine);
    json.member("count", run.experts->count);
    json.member("active", run.experts->active);
    json.member("width", run.experts->expert.width);
    json.member("gated", run.experts->expert.is_gated);
    if (run.experts->shared_width > 0) json.member("shared_width", run.experts->shared_width);
    json.close_object();
  } else if (run.mlp.width == 0) {
    json.key("mlp");
    json.null();
  } else {
    json.key("mlp");
    json.open_object(Layout::kLine);
    json.member("width", run.mlp.width);
    json.member("gated", run.mlp.is_gated);
    if (run.mlp.has_result_gate) json.member("result_gate", true);
    json.close_object();
  }
  if (run.other_parameters > 0) json.member("other_parameters", run.other_parameters);
  if (run.predicts_ahead) json.member("predicts_ahead", true);
  json.close_object();
}

}  // namespace

ModelDescription parse_model(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return io::read_model(document.root(io::kModelFormat, io::kFormatVersion));
}

std::string model_to_json(const ModelDescription& model) {
  JsonWriter json;
  json.open_object(Layout::kBlock);
  json.member("format", io::kModelFormat);
  json.member("version", io::kFormatVersion);
  if (!model.name.empty()) json.member("name", model.name);
  json.member("hidden", model.hidden);
  json.member("vocabulary", model.vocabulary);
  if (model.has_tied_embeddings) json.member("tied_embeddings", true);
  if (model.other_parameters > 0) json.member("other_parameters", model.other_parameters);
  if (!model.components.empty()) {
    json.key("components");
    json.open_array(Layout::kBlock);
    for (const ModelComponent& component : model.components) write(json, component);
    json.close_array();
  }
  json.key("layers");
  json.open_array(Layout::kBlock);
  for (const LayerRun& run : model.layers) write(json, model, run);
  json.close_array();
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
