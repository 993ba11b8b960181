// Recipes of Megatron-Bridge -> strategies.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/convert_command.h"
#include "cli/output.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/recipe.h"
#include "report/format.h"
#include "report/names.h"

namespace opweave::cli {
namespace {

struct ConvertRecipeOptions {
  std::filesystem::path input;
  std::filesystem::path folder;
  bool json = false;
};

nlohmann::ordered_json as_json(const Recipe& recipe) {
  return {{"recipe", recipe.name},
          {"model", recipe.model},
          {"task", recipe.task},
          {"device", recipe.device},
          {"devices", recipe.devices},
          {"run",
           {{"global_batch", recipe.run.global_batch},
            {"sequence", recipe.run.sequence},
            {"precision", to_string(recipe.run.precision)},
            {"bf16_gradients", recipe.run.has_bf16_gradients},
            {"bf16_moments", recipe.run.has_bf16_moments},
            {"fused_loss", recipe.run.has_fused_loss}}},
          {"strategy", nlohmann::ordered_json::parse(strategy_to_json(recipe.strategy))},
          {"unstated", recipe.unstated}};
}

std::string number_or_none(std::int64_t number) { return number > 0 ? std::to_string(number) : "?"; }

std::string as_text(const std::vector<Recipe>& recipes) {
  std::vector<std::vector<std::string>> rows = {{"recipe", "devices", "batch", "sequence", "tp", "cp", "ep", "pp", "dp",
                                                 "microbatch", "sharding", "recompute", "not in the strategy"}};
  std::size_t complete = 0;
  for (const Recipe& recipe : recipes) {
    const Strategy& s = recipe.strategy;
    complete += recipe.unstated.empty() ? 1 : 0;
    rows.push_back({readable(recipe.name), number_or_none(recipe.devices), number_or_none(recipe.run.global_batch),
                    number_or_none(recipe.run.sequence), std::to_string(s.tensor), std::to_string(s.context),
                    std::to_string(s.expert),
                    s.chunks > 1 ? fmt::format("{}x{}", s.pipeline, s.chunks) : std::to_string(s.pipeline),
                    std::to_string(s.data), std::to_string(s.micro_batch), std::string(to_string(s.sharding)),
                    std::string(to_string(s.recompute)), std::to_string(recipe.unstated.size())});
  }
  std::string text = table(rows) + "\n";
  for (const Recipe& recipe : recipes) {
    for (const std::string& line : recipe.unstated) text += fmt::format("{}: {}\n", readable(recipe.name), line);
  }
  return text + fmt::format("{} recipe{} stated, {} of them completely\n", recipes.size(),
                            recipes.size() == 1 ? "" : "s", complete);
}

ExitCode run_convert_recipe(const ConvertRecipeOptions& options) {
  expect_files({}, {{"FILE", options.input}});
  const std::vector<Recipe> recipes = parse_recipes(read_file(options.input), options.input.string());
  if (!options.folder.empty()) {
    make_folder(options.folder);
    for (const Recipe& recipe : recipes) {
      deliver(options.folder / (recipe.name + ".json"), strategy_to_json(recipe.strategy));
    }
  }
  if (!options.json) {
    print(as_text(recipes));
    return ExitCode::kDone;
  }
  auto list = nlohmann::ordered_json::array();
  for (const Recipe& recipe : recipes) list.push_back(as_json(recipe));
  print(list.dump(2) + "\n");
  return ExitCode::kDone;
}

}  // namespace

void add_convert_recipe(CLI::App& convert, Action& action) {
  auto options = std::make_shared<ConvertRecipeOptions>();
  CLI::App* command = convert.add_subcommand("recipe", "settings of Megatron-Bridge's recipes -> strategies");
  command->footer(
      "FILE is a list of recipes, or one (JSON): \"recipe\" (its name) and what it sets, by the names tp, pp, vpp, cp, "
      "ep,\n"
      "etp, sequence_parallel, micro_batch, global_batch, sequence, pipeline_layout, recompute_granularity, ... What "
      "it\n"
      "does not set is its base recipe's. What a strategy has no word for is printed, a line each "
      "(docs/strategies.md).\n\n"
      "Examples:\n"
      "  opweave convert recipe recipes.json -o strategies\n"
      "  opweave parallelize config.json --cluster h100 --nodes 8 --global-batch 128 --sequence 8192 --evaluate \\\n"
      "    strategies/llama3_70b_pretrain_64gpu_h100_bf16_config.json");
  command->add_option("FILE", options->input, "recipes (JSON)")->required()->check(file_name());
  command->add_option("-o,--output", options->folder, "write a strategy per recipe into this folder")
      ->check(file_name());
  command->add_flag("--json", options->json, "JSON on standard output, with devices, batch and what is unstated");
  command->callback([options, &action] { action = [options] { return run_convert_recipe(*options); }; });
}

}  // namespace opweave::cli
