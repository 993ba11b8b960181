// What a machine says about its links: to a cluster.
#include <memory>

#include "cli/convert_command.h"
#include "cli/inputs.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "opweave/topology.h"

namespace opweave::cli {
namespace {

struct ConvertTopologyOptions {
  std::filesystem::path input;
  std::optional<std::string> nvlink;
  std::optional<std::string> pcie;
  std::optional<std::string> socket;
  std::optional<std::string> memory;
  std::filesystem::path output;
};

/// Bytes per second from an option, which has no "/s": "25GB".
std::optional<std::int64_t> speed(const char* option, const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  const Bytes amount = naming(option, [&] { return parse_bytes(*text); });
  if (amount.value() < 1) throw InputError(std::string(option) + ": value is 0, expected more");
  return amount.value();
}

ExitCode run_convert_topology(const ConvertTopologyOptions& options) {
  expect_files({{"--output", options.output}}, {{"FILE", options.input}});
  TopologyOptions how;
  how.nvlink_bytes_per_s = speed("--nvlink-bandwidth", options.nvlink);
  how.pcie_bytes_per_s = speed("--pcie-bandwidth", options.pcie);
  how.socket_bytes_per_s = speed("--socket-bandwidth", options.socket);
  if (options.memory) how.memory = naming("--memory", [&] { return parse_bytes(*options.memory); });
  deliver(options.output, cluster_to_json(parse_topology(read_file(options.input), options.input.string(), how)));
  return ExitCode::kDone;
}

}  // namespace

void add_convert_topology(CLI::App& convert, Action& action) {
  auto options = std::make_shared<ConvertTopologyOptions>();
  CLI::App* command = convert.add_subcommand("topology", "links of a machine, from NCCL or nvidia-smi -> cluster");
  command->footer(
      "FILE is what NCCL writes with NCCL_TOPO_DUMP_FILE=FILE (XML), or the output of `nvidia-smi topo -m`, which\n"
      "names links but no speeds. docs/topology.md has the speeds that are assumed.\n\n"
      "Examples:\n"
      "  nvidia-smi topo -m > machine.txt; opweave convert topology machine.txt --memory 80GiB -o cluster.json\n"
      "  opweave convert topology nccl.xml -o cluster.json");
  command->add_option("FILE", options->input, "topology (XML of NCCL, or text of nvidia-smi)")
      ->required()
      ->check(file_name());
  command->add_option("--nvlink-bandwidth", options->nvlink, "bytes per second of one NVLink and direction, e.g. 25GB");
  command->add_option("--pcie-bandwidth", options->pcie, "bytes per second of PCIe slots and switches");
  command->add_option("--socket-bandwidth", options->socket, "bytes per second between two processors");
  command->add_option("--memory", options->memory, "capacity of every device, e.g. 80GiB [unlimited]");
  command->add_option("-o,--output", options->output, "write the cluster here instead of standard output")
      ->check(file_name());
  command->callback([options, &action] { action = [options] { return run_convert_topology(*options); }; });
}

}  // namespace opweave::cli
