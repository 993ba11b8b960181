#include "memory_modes/derive.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/units.h"
#include "memory_modes/due_times.h"
#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::uint32_t kNone = GraphWithMovements::kNone;

bool is_late(Phase phase) { return phase != Phase::kForward && phase != Phase::kNone; }

/// Two lists of ids as one, ascending and without repeats.
template <class Id>
void merge_into(std::vector<Id>& list, const std::vector<Id>& more) {
  list.insert(list.end(), more.begin(), more.end());
  std::ranges::sort(list);
  list.erase(std::ranges::unique(list).begin(), list.end());
}

class Derivation {
 public:
  Derivation(const ComputationGraph& graph, const Cluster& cluster, const std::vector<MemoryMode>& modes, Return when,
             const std::vector<GraphReduction>& reductions)
      : when_(when),
        reductions_(reductions),
        graph_(graph),
        cluster_(cluster),
        modes_(modes),
        operators_(graph.operators()),
        tensors_(graph.tensors()),
        unit_of_(units_of(graph)) {}

  GraphWithMovements derive() {
    result_.again.assign(graph_.operators().size(), kNone);
    result_.copy_out.assign(graph_.tensors().size(), kNone);
    result_.copy_in = result_.come_back = result_.copy_out;
    for (std::size_t t = 0; t < modes_.size(); ++t) tensors_[t].memory_modes.reset();
    number_repetitions();
    for (std::size_t t = 0; t < modes_.size(); ++t) {
      if (modes_[t] == MemoryMode::kHost) add_copies(TensorId(t));
    }
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      if (result_.again[i] != kNone) repeat(OperatorId(i));
    }
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      operators_[i].unit.clear();
      if (is_late(operators_[i].phase)) read_what_came_back(OperatorId(i));
    }
    if (when_ == Return::kJustInTime) delay_returns();
    for (const GraphReduction& reduction : reductions_) {
      result_.reductions.push_back(add_operator(reduction.op));
      for (const OperatorId op : reduction.optimizers) {
        merge_into(operators_[op.index()].after, {OperatorId(result_.reductions.back())});
      }
    }
    result_.graph = ComputationGraph::create(graph_.name(), std::move(operators_), std::move(tensors_),
                                             graph_.parameters(), graph_.training());
    return std::move(result_);
  }

 private:
  TensorId add_tensor(TensorId of, const char* suffix) {
    tensors_.push_back({graph_.at(of).name + suffix, graph_.at(of).size, {}, {}, {}});
    return TensorId(tensors_.size() - 1);
  }

  std::uint32_t add_operator(Operator op) {
    operators_.push_back(std::move(op));
    return static_cast<std::uint32_t>(operators_.size() - 1);
  }

  /// Numbers of what runs again, and what it makes: they refer to each other.
  void number_repetitions() {
    std::vector<bool> is_dropped(graph_.operators().size(), false);  // by unit: there are at most as many
    for (std::size_t t = 0; t < modes_.size(); ++t) {
      if (modes_[t] == MemoryMode::kDrop) is_dropped[unit_of_[graph_.tensors()[t].producer->index()]] = true;
    }
    again_of_unit_.resize(graph_.operators().size());
    for (std::size_t i = 0; i < graph_.operators().size(); ++i) {
      const Operator& op = graph_.operators()[i];
      if (op.phase != Phase::kForward || !is_dropped[unit_of_[i]]) continue;
      tie(OperatorId(i));
      result_.again[i] = add_operator({});
      again_of_unit_[unit_of_[i]].emplace_back(result_.again[i]);
      for (const TensorId output : op.outputs) {
        const TensorId made = add_tensor(output, " again");
        operators_.back().outputs.push_back(made);
        if (modes_[output.index()] == MemoryMode::kDrop) {
          result_.come_back[output.index()] = static_cast<std::uint32_t>(made.index());
        }
      }
    }
  }

  /// Gives an operator what its movements can share with it, so that they run where it does.
  void tie(OperatorId op) {
    Operator& maker = operators_[op.index()];
    if (!ties_itself(maker)) maker.colocation = maker.name + " and its movements";
  }

  /// Runs where, and holds what, its original does.
  void repeat(OperatorId original) {
    const std::uint32_t own = result_.again[original.index()];
    Operator op = operators_[original.index()];
    op.name += " again";
    op.phase = Phase::kInputGradient;  // of the backward pass, and as urgent
    op.outputs = operators_[own].outputs;
    op.anti_colocation.clear();  // it is of one group with its original
    op.unit.clear();
    for (OperatorId& earlier : op.after) {
      if (is_of_unit(earlier, unit_of_[original.index()])) earlier = OperatorId(result_.again[earlier.index()]);
    }
    merge_into(op.after, {original});
    std::vector<OperatorId> ends;
    for (TensorId& input : op.inputs) come_back(input, unit_of_[original.index()], ends);
    merge_into(op.after, ends);
    operators_[own] = std::move(op);
  }

  [[nodiscard]] bool is_of_unit(OperatorId op, std::uint32_t unit) const {
    return result_.again[op.index()] != kNone && unit_of_[op.index()] == unit;
  }

  /// Replaces a tensor by what comes back of it; adds what must have ended first: the repetitions of its unit, unless
  /// the reader is one of them.
  void come_back(TensorId& input, std::uint32_t unit_of_reader, std::vector<OperatorId>& ends) const {
    const MemoryMode mode = modes_[input.index()];
    if (mode == MemoryMode::kKeep) return;
    if (mode == MemoryMode::kDrop) {
      const std::uint32_t unit = unit_of_[graph_.at(input).producer->index()];
      if (unit != unit_of_reader) ends.insert(ends.end(), again_of_unit_[unit].begin(), again_of_unit_[unit].end());
    }
    input = TensorId(result_.come_back[input.index()]);
  }

  void read_what_came_back(OperatorId reader) {
    Operator& op = operators_[reader.index()];
    std::vector<OperatorId> ends;
    for (TensorId& input : op.inputs) come_back(input, kNone, ends);
    if (op.phase == Phase::kOptimizer) {
      // What runs again reads the parameters as they were.
      for (std::size_t i = 0; i < result_.again.size(); ++i) {
        if (result_.again[i] == kNone) continue;
        const std::vector<ParameterId>& read = graph_.operators()[i].parameters;
        const bool shares = op.parameters.empty() || std::ranges::any_of(op.parameters, [&](ParameterId parameter) {
                              return std::ranges::find(read, parameter) != read.end();
                            });
        if (shares) ends.emplace_back(result_.again[i]);
      }
    }
    merge_into(op.after, ends);
  }

  void add_copies(TensorId tensor) {
    const OperatorId maker = *graph_.at(tensor).producer;
    tie(maker);
    Operator out;
    out.name = graph_.at(tensor).name + " to host";
    out.kind = "copy_out";
    out.phase = Phase::kForward;
    out.streams = {std::string(kCopyOutStream)};
    out.inputs = {tensor};
    share_place(maker, tensor, out);
    Operator in = out;
    in.name = graph_.at(tensor).name + " from host";
    in.kind = "copy_in";
    in.phase = Phase::kInputGradient;
    in.streams = {std::string(kCopyInStream)};
    in.inputs.clear();
    const TensorId back = add_tensor(tensor, " from host");
    in.outputs = {back};
    result_.copy_out[tensor.index()] = add_operator(std::move(out));
    in.after = {OperatorId(result_.copy_out[tensor.index()])};
    result_.copy_in[tensor.index()] = add_operator(std::move(in));
    result_.come_back[tensor.index()] = static_cast<std::uint32_t>(back.index());
  }

  /// What comes back does so no earlier than some operators before the backward pass needs it: a scheduler that never
  /// lets a stream wait would have it back as soon as it has gone.
  void delay_returns() {
    const std::vector<std::vector<OperatorId>> due = DueTimes(graph_, unit_of_, modes_, result_).releases();
    const auto wait = [&](std::uint32_t movement, std::size_t unit) {
      merge_into(operators_[movement].after, due[unit]);
    };
    for (std::size_t i = 0; i < result_.again.size(); ++i) {
      if (result_.again[i] != kNone) wait(result_.again[i], unit_of_[i]);
    }
    for (std::size_t t = 0; t < result_.copy_in.size(); ++t) {
      if (result_.copy_in[t] != kNone) wait(result_.copy_in[t], unit_of_[graph_.tensors()[t].producer->index()]);
    }
  }

  [[noreturn]] void refuse_host(TensorId tensor) const {
    throw InputError(
        fmt::format("tensor \"{}\" cannot be copied to a host: operator \"{}\" may run on no device that has one",
                    graph_.at(tensor).name, graph_.at(*graph_.at(tensor).producer).name));
  }

  /// The devices on which the maker may run and that have hosts, with the time of a copy on each.
  void share_place(OperatorId maker, TensorId tensor, Operator& copy) const {
    const Operator& op = operators_[maker.index()];
    const Bytes size = graph_.at(tensor).size;
    copy.colocation = op.colocation;
    copy.parameters = op.parameters;
    copy.stage = op.stage;
    copy.layer = op.layer;
    const auto lasts_on = [&](const std::string& name) -> std::optional<Duration> {
      const std::optional<DeviceId> device = cluster_.find_device(name);
      const DeviceType* type = device ? cluster_.type_of(*device) : nullptr;
      if (type == nullptr || !type->host_link) return std::nullopt;
      return transfer_time(size, {type->host_link->latency, type->host_link->bandwidth_bytes_per_s});
    };
    for (const ModeSpec& mode : op.modes) {
      Duration longest;
      bool has_host = true;
      for (const std::string& device : mode.devices) {
        const std::optional<Duration> lasts = lasts_on(device);
        has_host = has_host && lasts;
        if (lasts) longest = std::max(longest, *lasts);
      }
      if (has_host) copy.modes.push_back({mode.devices, longest, Bytes()});
    }
    if (!op.modes.empty()) {
      if (copy.modes.empty()) refuse_host(tensor);
      return;
    }
    for (const std::vector<std::string>& list : op.devices) {
      copy.devices.emplace_back();
      std::ranges::copy_if(list, std::back_inserter(copy.devices.back()),
                           [&](const std::string& device) { return lasts_on(device).has_value(); });
      if (copy.devices.back().empty()) refuse_host(tensor);
    }
    for (const DeviceType& type : cluster_.types()) {
      if (!type.host_link) continue;
      const Rate rate{type.host_link->latency, type.host_link->bandwidth_bytes_per_s};
      copy.durations.push_back({type.name, transfer_time(size, rate)});
    }
    if (copy.durations.empty()) refuse_host(tensor);
  }

  const Return when_;
  const std::vector<GraphReduction>& reductions_;
  const ComputationGraph& graph_;
  const Cluster& cluster_;
  const std::vector<MemoryMode>& modes_;
  std::vector<Operator> operators_;
  std::vector<Tensor> tensors_;
  const std::vector<std::uint32_t> unit_of_;
  std::vector<std::vector<OperatorId>> again_of_unit_;
  GraphWithMovements result_;
};

}  // namespace

bool ties_itself(const Operator& op) {
  if (!op.colocation.empty() || !op.parameters.empty() || op.modes.size() == 1) return true;
  return !op.devices.empty() && std::ranges::all_of(op.devices, [](const auto& list) { return list.size() == 1; });
}

Cluster with_copy_streams(const Cluster& cluster) {
  ClusterParts parts = cluster.parts();
  for (std::size_t d = 0; d < parts.devices.size(); ++d) {
    const DeviceType* type = cluster.type_of(DeviceId(d));
    if (type == nullptr || !type->host_link) continue;
    std::vector<std::string>& streams = parts.devices[d].streams;
    for (const std::string_view stream : {kCopyOutStream, kCopyInStream}) {
      if (std::ranges::find(streams, stream) == streams.end()) streams.emplace_back(stream);
    }
  }
  return Cluster::create(std::move(parts));
}

GraphWithMovements derive(const ComputationGraph& graph, const Cluster& cluster, const std::vector<MemoryMode>& modes,
                          Return when, const std::vector<GraphReduction>& reductions) {
  return Derivation(graph, cluster, modes, when, reductions).derive();
}

}  // namespace opweave
