// Facts of recipes -> strategies. What a strategy has no word for gets a line.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <regex>
#include <set>

#include "io/json_reader.h"
#include "io/message.h"
#include "io/recipe_bases.h"
#include "io/recipe_layout.h"
#include "opweave/error.h"
#include "opweave/recipe.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::RecipeBase;

constexpr std::int64_t kMost = 10'000'000;

/// The settings of one recipe by key, and which of them were looked at.
class Settings {
 public:
  explicit Settings(const JsonValue& value) {
    value.each_member([&](std::string_view key, const JsonValue& member) {
      const simdjson::dom::element element = member.element();
      if (element.is_object()) member.reject("a number, a truth, a text or a list of texts");
      values_.emplace(key, element);
      member_text_.emplace(key, element.is_string() ? std::string(member.text()) : simdjson::minify(element));
      if (element.is_number()) (void)member.integer(0, 1'000'000'000);
    });
  }

  [[nodiscard]] bool has(std::string_view key) const { return values_.contains(key); }
  /// Values that are written as expressions of the recipe's function are none.
  [[nodiscard]] std::optional<std::int64_t> number(std::string_view key) {
    seen_.emplace(key);
    const auto found = values_.find(key);
    if (found == values_.end()) return std::nullopt;
    if (found->second.is_number()) return static_cast<std::int64_t>(double(found->second));
    if (!found->second.is_null()) expressions_.push_back(std::string(key));
    return std::nullopt;
  }
  [[nodiscard]] std::optional<bool> truth(std::string_view key) {
    seen_.emplace(key);
    const auto found = values_.find(key);
    if (found == values_.end()) return std::nullopt;
    if (found->second.is_bool()) return bool(found->second);
    if (!found->second.is_null()) expressions_.push_back(std::string(key));
    return std::nullopt;
  }
  /// A text; a list of texts joined by ",".
  [[nodiscard]] std::optional<std::string> text(std::string_view key) {
    seen_.emplace(key);
    const auto found = values_.find(key);
    if (found == values_.end() || found->second.is_null()) return std::nullopt;
    if (!found->second.is_array()) return member_text_.at(std::string(key));
    std::string joined;
    for (const auto item : simdjson::dom::array(found->second)) {
      std::string_view word;
      if (item.get(word) != simdjson::SUCCESS) return member_text_.at(std::string(key));
      joined += (joined.empty() ? "" : ",") + std::string(word);
    }
    return joined;
  }
  [[nodiscard]] bool is_list(std::string_view key) const {
    const auto found = values_.find(key);
    return found != values_.end() && found->second.is_array();
  }

  /// A line for each value that is an expression and for each key that nobody asked for.
  void tell(std::vector<std::string>& lines) const {
    for (const std::string& key : expressions_) {
      lines.push_back(
          fmt::format("{}: {} is an expression of the recipe", key, io::text_in_quotes(member_text_.at(key))));
    }
    for (const auto& [key, value] : member_text_) {
      if (!seen_.contains(key)) lines.push_back(fmt::format("{}: {}", io::printable(key), io::printable(value)));
    }
  }

 private:
  std::map<std::string, simdjson::dom::element, std::less<>> values_;
  std::map<std::string, std::string, std::less<>> member_text_;
  std::set<std::string, std::less<>> seen_;
  std::vector<std::string> expressions_;
};

std::uint32_t degree(std::optional<std::int64_t> given, std::uint32_t of_base, std::uint32_t otherwise = 1) {
  if (given && *given >= 1) return static_cast<std::uint32_t>(std::min(*given, kMost));
  return of_base > 0 ? of_base : otherwise;
}

void read_name(Recipe& recipe) {
  static const std::regex kName("_?(.+?)_(pretrain|sft|peft)_([0-9]{1,7})gpu_([a-z0-9]+)_([a-z0-9]+)(?:_(.*))?_config");
  std::smatch parts;
  if (!std::regex_match(recipe.name, parts, kName)) {
    recipe.unstated.emplace_back("devices, their type and the precision: the name does not say them");
    return;
  }
  recipe.model = parts[1];
  recipe.task = parts[2];
  recipe.devices = std::stoll(parts[3]);
  recipe.device = parts[4];
  recipe.precision = parts[5];
  if (recipe.precision != "bf16") recipe.run.precision = Precision::kFp8;
  if (!recipe.precision.starts_with("bf16") && !recipe.precision.starts_with("fp8")) {
    recipe.unstated.push_back(fmt::format("precision: {} is valued as fp8", recipe.precision));
  }
  if (recipe.task == "peft")
    recipe.unstated.emplace_back("task: weights are frozen beside small ones that are trained");
  if (!parts[6].matched) return;
  recipe.unstated.push_back(fmt::format("variant: {}", parts[6].str()));
  // "fsdp", "hsdp": weights shared out, over all data ranks or a part of them.
  if (parts[6].str().find("sdp") != std::string::npos) recipe.strategy.sharding = Sharding::kWeights;
}

/// What is made again in the backward pass.
void read_recompute(Recipe& recipe, Settings& settings, const RecipeBase& base) {
  Strategy& s = recipe.strategy;
  const auto granularity = settings.text("recompute_granularity");
  auto modules = settings.text("recompute_modules");
  if (modules && !settings.is_list("recompute_modules")) {
    recipe.unstated.push_back(
        fmt::format("recompute_modules: {} is an expression of the recipe", io::text_in_quotes(*modules)));
    modules.reset();
  }
  const auto layers = settings.number("recompute_layers");
  const auto method = settings.text("recompute_method");
  const bool is_full = granularity ? *granularity == "full" : base.recompute_modules == "full";
  if (is_full) {
    s.recompute = Recompute::kFull;
    if (method.value_or("uniform") == "block") {
      s.recomputed_layers = static_cast<std::uint32_t>(std::min<std::int64_t>(layers.value_or(1), 100'000) * s.chunks);
    } else if (layers.value_or(1) > 1) {
      recipe.unstated.push_back(fmt::format("recompute_layers: kept is the input of every {} layers", *layers));
    }
    return;
  }
  // Megatron's default of a selective one.
  const bool is_selective = granularity.has_value() || !base.recompute_modules.empty();
  if (!modules && is_selective)
    modules = base.recompute_modules.empty() ? "core_attn" : std::string(base.recompute_modules);
  if (!modules) return;
  std::string others;
  for (std::size_t at = 0; at < modules->size();) {
    const std::size_t end = std::min(modules->find(',', at), modules->size());
    const std::string name = modules->substr(at, end - at);
    at = end + 1;
    const auto module = layer_module_from_string(name);
    if (module && *module != LayerModule::kAlternateProducts) {
      s.recomputed_modules.add(*module);
    } else {
      others += (others.empty() ? "" : ", ") + name;
    }
  }
  if (!s.recomputed_modules.empty()) s.recompute = Recompute::kSelective;
  if (!others.empty()) recipe.unstated.push_back("recompute_modules: " + others + " are made again");
}

/// "CommOverlapConfig(tp_comm_overlap=True, overlap_grad_reduce=False, ...)".
void read_overlap(Recipe& recipe, Settings& settings, const RecipeBase& base) {
  Strategy& s = recipe.strategy;
  s.overlaps_data = base.overlaps_data;
  const std::string text = settings.text("comm_overlap").value_or("");
  std::optional<bool> gathers_beside;
  static const std::regex kArgument(R"((\w+)=(\w+))");
  for (std::sregex_iterator at(text.begin(), text.end(), kArgument), end; at != end; ++at) {
    const std::string key = (*at)[1];
    const std::string value = (*at)[2];
    if (key == "tp_comm_overlap") {
      s.overlaps_tensor = value == "True" && s.tensor > 1 && s.has_sequence_parallelism;
    } else if (key == "overlap_grad_reduce") {
      s.overlaps_data = value == "True";
    } else if (key == "overlap_param_gather") {
      gathers_beside = value == "True";
    } else if (value != "False") {
      recipe.unstated.push_back(fmt::format("comm_overlap: {}={}", key, value));
    }
  }
  if (gathers_beside && *gathers_beside != s.overlaps_data) {
    recipe.unstated.push_back(fmt::format("comm_overlap: overlap_param_gather={}", *gathers_beside ? "True" : "False"));
  }
  if (settings.truth("delay_wgrad").value_or(false)) {
    recipe.unstated.emplace_back("delay_wgrad: weight gradients come later, beside communication");
  }
  if (settings.truth("overlap_moe_expert_parallel").value_or(false)) {
    recipe.unstated.emplace_back("overlap_moe_expert_parallel: tokens travel beside another microbatch's layers");
  }
  // Of so many layers, all alike: a share of what a stage keeps.
  if (const auto offload = settings.number("offload"); offload.value_or(0) > 0) {
    if (base.layers > 0) {
      s.activation_offload = std::min(1.0, static_cast<double>(*offload) * s.pipeline / base.layers);
    } else {
      recipe.unstated.push_back(fmt::format("offload: activations of {} layers go to the host", *offload));
    }
  }
}

void read_degrees(Recipe& recipe, Settings& settings, const RecipeBase& base) {
  Strategy& s = recipe.strategy;
  s.tensor = degree(settings.number("tp"), base.tensor);
  s.pipeline = degree(settings.number("pp"), base.pipeline);
  // What is left out is that of the base only where the pipeline is too: a pipeline of its own has its own chunks.
  s.chunks = degree(settings.number("vpp"), settings.has("pp") ? 1 : base.chunks);
  s.context = degree(settings.number("cp"), base.context);
  s.expert = degree(settings.number("ep"), base.expert);
  s.expert_tensor = degree(settings.number("etp"), base.expert_tensor, s.expert > 1 ? s.tensor : 1);
  s.has_sequence_parallelism =
      settings.truth("sequence_parallel").value_or(base.has_sequence_parallelism) && s.tensor > 1;
  s.micro_batch = degree(settings.number("micro_batch"), base.micro_batch);
  if (s.pipeline == 1 && s.chunks > 1) {
    recipe.unstated.push_back(fmt::format("vpp: {} chunks without a pipeline", s.chunks));
    s.chunks = 1;
  }
  if (s.chunks > 1) s.schedule = PipelineKind::kInterleaved;
  if (base.shares_optimizer && s.sharding == Sharding::kNone) s.sharding = Sharding::kOptimizer;
  const std::uint64_t ranks = std::uint64_t{s.tensor} * s.pipeline * s.context;
  if (recipe.devices > 0) {
    if (static_cast<std::uint64_t>(recipe.devices) % ranks == 0) {
      s.data = static_cast<std::uint32_t>(static_cast<std::uint64_t>(recipe.devices) / ranks);
    } else {
      recipe.unstated.push_back(
          fmt::format("data: {} devices are no multiple of tensor x pipeline x context = {}", recipe.devices, ranks));
    }
  }
}

void read_run(Recipe& recipe, Settings& settings, const RecipeBase& base) {
  // As Megatron-Bridge's recipes for speed do: grad_reduce_in_fp32 = False, cross_entropy_fusion_impl = "te".
  recipe.run.has_bf16_gradients = recipe.run.has_fused_loss = true;
  recipe.run.has_bf16_moments = base.has_bf16_moments;
  recipe.run.sequence = settings.number("sequence").value_or(base.sequence);
  recipe.run.global_batch = settings.number("global_batch").value_or(base.global_batch);
  if (recipe.run.sequence == 0)
    recipe.unstated.emplace_back("sequence: the recipe and its base leave it to the caller");
  if (recipe.run.global_batch == 0) {
    recipe.unstated.emplace_back("global_batch: the recipe and its base leave it to the caller");
  }
}

Recipe read_recipe(const JsonValue& value) {
  Settings settings(value);
  Recipe recipe;
  const auto name = settings.text("recipe");
  if (!name || name->empty()) value.fail("key \"recipe\" is missing, expected the recipe's name");
  const std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  if (name->find_first_not_of(plain) != std::string::npos || name->starts_with('.')) {
    value.fail(
        fmt::format("recipe is {}, expected letters, digits, \"_\", \"-\" and \".\"", io::text_in_quotes(*name)));
  }
  recipe.name = *name;
  (void)settings.text("file");  // where the recipe stands says nothing about training
  read_name(recipe);
  static constexpr RecipeBase kNoBase{};
  const std::string base_name = settings.text("base_recipe").value_or("");
  const RecipeBase* base = io::recipe_base(base_name);
  if (base == nullptr) {
    recipe.unstated.push_back(base_name.empty()
                                  ? std::string("base_recipe: none, what is not set is Megatron's default")
                                  : fmt::format("base_recipe: {} is not known, what is not set is "
                                                "Megatron's default",
                                                io::printable(base_name)));
    base = &kNoBase;
  }
  read_degrees(recipe, settings, *base);
  read_run(recipe, settings, *base);
  read_recompute(recipe, settings, *base);
  read_overlap(recipe, settings, *base);
  io::LayoutFacts layout;
  layout.text = settings.text("pipeline_layout").value_or(std::string(settings.has("pp") ? "" : base->layout));
  layout.first = settings.number("first_stage_layers");
  layout.last = settings.number("last_stage_layers");
  layout.counts_embedding = settings.truth("account_for_embedding").value_or(false);
  layout.counts_loss = settings.truth("account_for_loss").value_or(false);
  layout.layers = base->layers;
  io::apply_layout(recipe, layout);
  settings.tell(recipe.unstated);
  return recipe;
}

/// Recipes that name neither degrees nor a base are made from another one of their file.
bool stands_alone(const JsonValue& value) {
  bool found = false;
  value.each_member(
      [&](std::string_view key, const JsonValue&) { found |= key == "tp" || key == "pp" || key == "base_recipe"; });
  return found;
}

std::string file_of(const JsonValue& value) {
  std::string file;
  value.each_member([&](std::string_view key, const JsonValue& member) {
    if (key == "file") file = member.text();
  });
  return file;
}

struct Read {
  Recipe recipe;
  std::string file;
  bool stands_alone = false;
};

/// How near the name of a recipe is to another's: all but the number of devices, else as far as they begin alike.
std::size_t nearness(const std::string& name, const std::string& other) {
  static const std::regex kDevices("_[0-9]+gpu_");
  if (std::regex_replace(name, kDevices, "_") == std::regex_replace(other, kDevices, "_")) {
    return std::numeric_limits<std::size_t>::max();
  }
  return static_cast<std::size_t>(std::ranges::mismatch(name, other).in1 - name.begin());
}

/// The degrees of the recipe of the same file and precision whose name is nearest; a batch that the caller gives grows
/// with the devices. Of equally near ones that on the fewest.
void take_from_sibling(Read& read, const std::vector<Read>& all) {
  const Read* nearest = nullptr;
  std::size_t most = 0;
  for (const Read& other : all) {
    if (!other.stands_alone || other.file != read.file || other.recipe.precision != read.recipe.precision) continue;
    const std::size_t near = nearness(read.recipe.name, other.recipe.name);
    const bool is_nearer = nearest == nullptr || near > most;
    if (!is_nearer && (near < most || other.recipe.devices >= nearest->recipe.devices)) continue;
    nearest = &other;
    most = near;
  }
  Recipe& recipe = read.recipe;
  if (nearest == nullptr || recipe.devices == 0) {
    recipe.unstated.emplace_back(
        "tp, pp: the recipe sets no degrees and has no base, and no other of its file and precision does");
    return;
  }
  const Recipe& from = nearest->recipe;
  std::vector<std::string> own = std::move(recipe.unstated);
  recipe.strategy = from.strategy;
  recipe.run = from.run;
  const std::int64_t rest = from.devices > 0 ? from.devices / from.strategy.data : 0;
  if (rest > 0 && recipe.devices % rest == 0) recipe.strategy.data = static_cast<std::uint32_t>(recipe.devices / rest);
  if (from.devices > 0) recipe.run.global_batch = from.run.global_batch * recipe.devices / from.devices;
  recipe.unstated = {fmt::format("tp, pp: not set, taken from {}, the batch growing with the devices", from.name)};
  recipe.unstated.insert(recipe.unstated.end(), own.begin(), own.end());
  for (const std::string& line : from.unstated) {
    if (std::ranges::find(recipe.unstated, line) == recipe.unstated.end()) recipe.unstated.push_back(line);
  }
}

}  // namespace

std::vector<Recipe> parse_recipes(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root();
  std::vector<Read> all;
  const auto add = [&](const JsonValue& value) {
    all.push_back({read_recipe(value), file_of(value), stands_alone(value)});
  };
  if (root.is_object()) {
    add(root);
  } else {
    root.each(add);
  }
  std::vector<Recipe> recipes;
  for (Read& read : all) {
    if (!read.stands_alone) take_from_sibling(read, all);
  }
  for (Read& read : all) recipes.push_back(std::move(read.recipe));
  return recipes;
}

}  // namespace opweave
