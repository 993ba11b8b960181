// Importers of others' instances: a file becomes a graph and a cluster.
#include <memory>

#include "cli/convert_command.h"
#include "opweave/msr.h"

namespace opweave::cli {
namespace {

struct Options {
  std::filesystem::path input;
  ProblemOutput output;
};

using Importer = ImportedProblem (*)(const std::filesystem::path& path);

void add_importer(CLI::App& convert, Action& action, const char* name, const char* description, const char* file,
                  Importer importer) {
  auto options = std::make_shared<Options>();
  CLI::App* command = convert.add_subcommand(name, description);
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
               [](const std::filesystem::path& path) { return parse_fjs(read_file(path), path.string()); });
}

void add_convert_msr(CLI::App& convert, Action& action) {
  add_importer(convert, action, "msr", "placement instance of arXiv 2006.16423 -> graph and cluster",
               "instance (JSON of that suite)", [](const std::filesystem::path& path) {
                 return to_problem(parse_msr(read_file(path), path.string()), path.stem().string());
               });
}

}  // namespace opweave::cli
