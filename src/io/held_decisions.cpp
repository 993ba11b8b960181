// Decisions by their short names.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "io/message.h"
#include "opweave/error.h"
#include "opweave/strategy_search.h"

namespace opweave {
namespace {

[[noreturn]] void reject(std::string_view key, std::string_view value, std::string_view expected) {
  throw InputError(fmt::format("{} is {}, expected {}", key, io::text_in_quotes(value), expected));
}

std::uint32_t number(std::string_view key, std::string_view value) {
  std::uint32_t parsed = 0;
  const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || rest != value.data() + value.size() || parsed == 0) {
    reject(key, value, "a whole number from 1");
  }
  return parsed;
}

double share(std::string_view key, std::string_view value) {
  double parsed = 0;
  const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || rest != value.data() + value.size() || !(parsed >= 0 && parsed <= 1)) {
    reject(key, value, "a number from 0 to 1");
  }
  return parsed;
}

template <class Value>
Value word(std::string_view key, std::string_view value, std::optional<Value> (*from_string)(std::string_view),
           std::string_view expected) {
  const auto found = from_string(value);
  if (!found) reject(key, value, expected);
  return *found;
}

ModuleSet modules(std::string_view key, std::string_view value) {
  ModuleSet set;
  if (value == "none") return set;
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t end = std::min(value.find('+', begin), value.size());
    const auto module = layer_module_from_string(value.substr(begin, end - begin));
    if (!module) {
      reject(key, value,
             "none, or names joined by +: core_attn, moe_act, layernorm, mla_up_proj, mlp, moe, shared_experts, "
             "selective_ac");
    }
    set.add(*module);
    begin = end + 1;
  }
  return set;
}

void hold_component(HeldDecisions& held, std::string_view name, std::string_view key, std::string_view value) {
  const std::string whole = fmt::format("{}.{}", name, key);
  if (!held.component) held.component = HeldComponent{std::string(name), {}, {}, {}, {}, {}};
  HeldComponent& component = *held.component;
  if (component.name != name) {
    throw InputError(fmt::format("{}: one component has a mesh of its own, {} is held already",
                                 io::text_in_quotes(whole), io::text_in_quotes(component.name)));
  }
  const std::pair<std::string_view, std::optional<std::uint32_t>*> degrees[] = {
      {"tp", &component.tensor}, {"cp", &component.context}, {"dp", &component.data}, {"pp", &component.pipeline}};
  const auto* found = std::ranges::find(degrees, key, [](const auto& degree) { return degree.first; });
  if (found != std::end(degrees)) {
    *found->second = number(whole, value);
  } else if (key == "mesh") {
    if (value != "own" && value != "shared") reject(whole, value, "own or shared");
    component.has_mesh = value == "own";
  } else {
    throw InputError(fmt::format("{} is unknown, expected {}.tp, .cp, .dp, .pp or .mesh", io::text_in_quotes(whole),
                                 io::text_in_quotes(name)));
  }
  if (component.has_mesh == false && (component.tensor || component.context || component.data || component.pipeline)) {
    throw InputError(fmt::format("{}: a component on the shared mesh has no degrees of its own",
                                 io::text_in_quotes(component.name)));
  }
}

}  // namespace

void hold(HeldDecisions& held, std::string_view key, std::string_view value) {
  const std::pair<std::string_view, std::optional<std::uint32_t>*> numbers[] = {
      {"tp", &held.tensor},  {"cp", &held.context}, {"dp", &held.data},         {"pp", &held.pipeline},
      {"vpp", &held.chunks}, {"ep", &held.expert},  {"mbs", &held.micro_batch},
  };
  const auto* found = std::ranges::find(numbers, key, [](const auto& n) { return n.first; });
  if (found != std::end(numbers)) {
    *found->second = number(key, value);
  } else if (key == "recompute") {
    held.recompute = word(key, value, recompute_from_string, "none, selective or full");
  } else if (key == "modules") {
    held.modules = modules(key, value);
  } else if (key == "offload") {
    held.activation_offload = share(key, value);
  } else if (key == "optimizer_offload") {
    held.optimizer_offload = share(key, value);
  } else if (key == "tp_overlap") {
    if (value != "yes" && value != "no") reject(key, value, "yes or no");
    held.overlaps_tensor = value == "yes";
  } else if (key == "sharding") {
    held.sharding = word(key, value, sharding_from_string, "none, optimizer, gradients or weights");
  } else if (key == "schedule") {
    held.schedule = word(key, value, pipeline_kind_from_string, "1F1B, Interleaved-1F1B, ZB1P, ZB-2P or DualPipe");
  } else if (const std::size_t dot = key.rfind('.'); dot != std::string_view::npos) {
    hold_component(held, key.substr(0, dot), key.substr(dot + 1), value);
  } else {
    throw InputError(
        fmt::format("{} is unknown, expected tp, cp, dp, pp, vpp, ep, mbs, recompute, modules, offload, "
                    "optimizer_offload, tp_overlap, sharding or schedule; COMPONENT.tp, .cp, .dp, .pp or .mesh",
                    io::text_in_quotes(key)));
  }
  const bool is_none = held.recompute == Recompute::kNone;
  if (held.modules && ((is_none && !held.modules->empty()) || held.recompute == Recompute::kFull ||
                       (held.recompute == Recompute::kSelective && held.modules->empty()))) {
    throw InputError(fmt::format("modules {} do not go with recompute {}",
                                 held.modules->empty() ? "none" : to_string(*held.modules, "+"),
                                 to_string(*held.recompute)));
  }
}

}  // namespace opweave
