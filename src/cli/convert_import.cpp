// Importers: an instance of others becomes a graph and a cluster, a model's configuration a model.
#include <fmt/format.h>

#include <memory>

#include "cli/convert_command.h"
#include "cli/output.h"
#include "opweave/model.h"
#include "opweave/msr.h"

namespace opweave::cli {
namespace {

struct ConvertImportOptions {
  std::filesystem::path input;
  ProblemOutput output;
};

using Importer = ImportedProblem (*)(const std::filesystem::path& path);

void add_importer(CLI::App& convert, Action& action, const char* name, const char* description, const char* file,
                  const char* example, Importer importer) {
  auto options = std::make_shared<ConvertImportOptions>();
  CLI::App* command = convert.add_subcommand(name, description);
  command->footer(fmt::format("Example:\n  opweave convert {} {} -o graph.json --cluster cluster.json", name, example));
  command->add_option("FILE", options->input, file)->required()->check(file_name());
  options->output.add_to(*command);
  command->callback([options, importer, &action] {
    action = [options, importer] {
      expect_files(options->output.named(), {{"FILE", options->input}});
      const ImportedProblem problem = importer(options->input);
      options->output.write(problem.graph, problem.cluster);
      return ExitCode::kDone;
    };
  });
}

}  // namespace

void add_convert_fjs(CLI::App& convert, Action& action) {
  add_importer(convert, action, "fjs", "flexible job shop -> graph and cluster", "instance in the .fjs text format",
               "mk01.txt", [](const std::filesystem::path& path) { return parse_fjs(read_file(path), path.string()); });
}

void add_convert_jsp(CLI::App& convert, Action& action) {
  add_importer(convert, action, "jsp", "job shop without choices of machines -> graph and cluster",
               "instance in the usual text format: a line of pairs \"machine time\" per job", "ft06.txt",
               [](const std::filesystem::path& path) { return parse_jsp(read_file(path), path.string()); });
}

void add_convert_msr(CLI::App& convert, Action& action) {
  add_importer(convert, action, "msr", "placement instance of arXiv 2006.16423 -> graph and cluster",
               "instance (JSON of that suite)", "bert24_inference.json", [](const std::filesystem::path& path) {
                 return to_problem(parse_msr(read_file(path), path.string()), path.stem().string());
               });
}

void add_convert_hf(CLI::App& convert, Action& action) {
  struct ModelFiles {
    std::filesystem::path input;
    std::filesystem::path output;
    bool with_prediction_modules = false;
  };
  auto files = std::make_shared<ModelFiles>();
  CLI::App* command = convert.add_subcommand("hf", "config.json of Hugging Face transformers -> model");
  command->footer("Example:\n  opweave convert hf config.json -o model.json");
  command->add_option("FILE", files->input, "config.json")->required()->check(file_name());
  command->add_option("-o,--output", files->output, "write the model here instead of standard output")
      ->check(file_name());
  command->add_flag("--prediction-modules", files->with_prediction_modules,
                    "also the modules that predict further ahead (num_nextn_predict_layers), which transformers leaves "
                    "out");
  command->callback([files, &action] {
    action = [files] {
      expect_files({{"--output", files->output}}, {{"FILE", files->input}});
      deliver(files->output, model_to_json(parse_hf_config(read_file(files->input), files->input.string(),
                                                           files->with_prediction_modules)));
      return ExitCode::kDone;
    };
  });
}

}  // namespace opweave::cli
