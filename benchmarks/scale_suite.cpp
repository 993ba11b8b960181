/// Large random layered graphs: time to the first valid plan and to a good one.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "bench.h"

namespace opweave::bench {

std::string LayeredInstance::name() const { return fmt::format("{} operators, {} devices", operators, devices); }

Problem LayeredInstance::problem(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::vector<Operator> list(operators);
  std::vector<Tensor> tensors(operators);
  for (std::size_t i = 0; i < operators; ++i) {
    list[i].name = fmt::format("op{}", i);
    list[i].durations = {{"", Duration(static_cast<std::int64_t>(1000 + random() % 9000))}};
    tensors[i].name = fmt::format("t{}", i);
    tensors[i].size = Bytes(static_cast<std::int64_t>(1'000'000 + random() % 1'000'000));
    list[i].outputs = {TensorId(i)};
    for (int k = 0; k < 2 && i > 0; ++k) {
      const TensorId input(i - 1 - random() % std::min<std::size_t>(i, 400));
      if (std::find(list[i].inputs.begin(), list[i].inputs.end(), input) == list[i].inputs.end()) {
        list[i].inputs.push_back(input);
      }
    }
  }
  return Problem::create(
      ComputationGraph::create(fmt::format("layered {}", operators), std::move(list), std::move(tensors), {}),
      uniform_cluster(devices, {"compute"}, Bytes(2'000'000'000), Duration(500), 1'000'000'000'000));
}

void run_scale(const Options& options, const Emit& emit) {
  emit("Random layered graphs, transfers of 0.5 us + 1 byte/ps, 2 GB of memory per device; milliseconds.");
  emit("");
  emit_header(emit);
  const LayeredInstance instances[] = {{1'000, 8},    {3'000, 16},  {10'000, 32},
                                       {20'000, 256}, {30'000, 64}, {100'000, 64}};
  for (const LayeredInstance& instance : instances) {
    if (!options.chooses(instance.name())) continue;
    emit_row(emit, plan_row(instance.name(), instance.problem(options.seed), options, 1e6, "-", std::nullopt));
  }
}

}  // namespace opweave::bench
