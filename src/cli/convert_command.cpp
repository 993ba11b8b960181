#include "cli/convert_command.h"

#include "cli/output.h"

namespace opweave::cli {

void ProblemOutput::add_to(CLI::App& command) {
  command.add_option("-o,--output", graph, "write the graph here")->required()->check(file_name());
  command.add_option("--cluster", cluster, "write the cluster here")->required()->check(file_name());
}

void ProblemOutput::write(const ComputationGraph& graph_value, const Cluster& cluster_value) const {
  deliver(graph, graph_to_json(graph_value));
  deliver(cluster, cluster_to_json(cluster_value));
}

void add_convert(CLI::App& app, Action& action) {
  CLI::App* convert = app.add_subcommand("convert", "others' formats to ours and back");
  convert->require_subcommand(1);
  convert->footer(
      "Examples:\n"
      "  opweave convert pipeline spec.json --shape V --devices 8 -o graph.json --cluster cluster.json\n"
      "  opweave convert fjs mk01.txt -o graph.json --cluster cluster.json\n"
      "  opweave convert jsp ft06.txt -o graph.json --cluster cluster.json\n"
      "  opweave convert csv schedule.csv graph.json cluster.json -o plan.json\n"
      "  opweave convert expert ZB-V --devices 4 --microbatches 8 -o schedule.csv\n"
      "  opweave convert topology nccl.xml -o cluster.json\n"
      "  opweave convert hf config.json -o model.json\n"
      "  opweave convert strategy best.json config.json --to megatron -o args.sh\n"
      "  opweave convert recipe recipes.json -o strategies");
  add_convert_pipeline(*convert, action);
  add_convert_fjs(*convert, action);
  add_convert_jsp(*convert, action);
  add_convert_msr(*convert, action);
  add_convert_csv(*convert, action);
  add_convert_expert(*convert, action);
  add_convert_topology(*convert, action);
  add_convert_hf(*convert, action);
  add_convert_strategy(*convert, action);
  add_convert_recipe(*convert, action);
}

}  // namespace opweave::cli
