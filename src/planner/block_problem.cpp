#include "planner/block_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "opweave/error.h"

namespace opweave {
namespace {

/// Labels that stand for the same devices.
class Labels {
 public:
  const std::string& find(const std::string& label) {
    const auto entry = parent_.try_emplace(label, label).first;
    if (entry->second == label) return entry->first;
    entry->second = find(entry->second);
    return entry->second;
  }
  void join(const std::string& a, const std::string& b) {
    const std::string root = find(b);
    parent_[find(a)] = root;
  }

 private:
  std::map<std::string, std::string> parent_;
};

/// The operators of each piece that a piece's operator waits for, by their place in the piece.
std::vector<std::vector<std::uint32_t>> predecessors_within(const ComputationGraph& graph, const Piece& piece) {
  std::map<OperatorId, std::uint32_t> place;
  std::vector<std::vector<std::uint32_t>> result;
  for (const OperatorId id : piece.operators) {
    const Operator& op = graph.at(id);
    std::set<std::uint32_t> earlier;
    const auto add = [&](OperatorId other) {
      if (const auto found = place.find(other); found != place.end()) earlier.insert(found->second);
    };
    for (const TensorId input : op.inputs) {
      if (const auto producer = graph.at(input).producer) add(*producer);
    }
    for (const OperatorId other : op.after) add(other);
    result.emplace_back(earlier.begin(), earlier.end());
    place.emplace(id, static_cast<std::uint32_t>(place.size()));
  }
  return result;
}

TimedPiece timed_piece(const PieceOrder& order, const PieceWork& work, std::vector<Bytes> workspaces) {
  TimedPiece result{order.starts, {}, std::move(workspaces), order.length};
  for (std::size_t i = 0; i < order.starts.size(); ++i) result.ends.push_back(order.starts[i] + work.durations[i]);
  return result;
}

template <class T>
void sort_out_repeats(std::vector<T>& list) {
  std::ranges::sort(list);
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

/// Pieces of one block that come before one of this phase, whatever their operators need.
bool comes_before(Phase earlier, Phase later) {
  const bool is_forward = earlier == Phase::kForward || earlier == Phase::kNone;
  if (later == Phase::kInputGradient || later == Phase::kBackward) return is_forward;
  return later == Phase::kWeightGradient && (is_forward || earlier == Phase::kInputGradient);
}

}  // namespace

BlockProblem::BlockProblem(const Problem& whole, const Budget& budget)
    : whole_(whole),
      blocks_(whole.settings().blocks),
      pieces_(pieces_of(whole.graph(), blocks_)),
      piece_of_(whole.graph().operators().size()) {
  for (std::size_t p = 0; p < pieces_.size(); ++p) {
    for (const OperatorId op : pieces_[p].operators) piece_of_[op.index()] = p;
  }
  require_together();
  const std::vector<std::vector<TimedPiece>> timed = find_devices(budget);
  find_types();
  operators_ = make_operators();
  BlockMemory memory = block_memory(whole_.graph(), pieces_, piece_of_, timed);
  for (std::size_t p = 0; p < pieces_.size(); ++p) operators_[p].workspace = memory.workspaces[p];
  for (const BlockTensor& tensor : memory.tensors) {
    const TensorId id(tensors_.size());
    tensors_.push_back({fmt::format("t{}", tensors_.size()), tensor.size, std::nullopt, {}});
    original_.push_back(tensor.tensor);
    if (tensor.producer) operators_[*tensor.producer].outputs.push_back(id);
    for (const std::size_t consumer : tensor.consumers) operators_[consumer].inputs.push_back(id);
  }
  pieces_as_operators_ = make_problem(false);
  is_exact_ = memory_suffices() &&
              std::ranges::all_of(orders_, [](const PieceOrder& order) { return order.length == order.shortest; });
}

void BlockProblem::require_together() const {
  std::map<std::pair<std::string, std::string>, OperatorId> apart;
  for (const Piece& piece : pieces_) {
    for (const OperatorId id : piece.operators) {
      for (const std::string& name : whole_.graph().at(id).anti_colocation) {
        if (piece.block.empty()) continue;
        const auto [entry, is_new] = apart.try_emplace({piece.block, name}, id);
        if (is_new || entry->second == id) continue;
        throw InputError(fmt::format("{} {} cannot be a block: its operators \"{}\" and \"{}\" must be apart (\"{}\")",
                                     to_string(blocks_), piece.block, whole_.graph().at(entry->second).name,
                                     whole_.graph().at(id).name, name));
      }
    }
  }
}

std::optional<TaskId> BlockProblem::task_in(OperatorId op, std::uint32_t replica) const {
  if (whole_.graph().at(op).phase == Phase::kOptimizer) return whole_.task_of(op, replica);
  const Training& training = whole_.settings().training;
  for (std::uint32_t copy = 0; copy < training.microbatches; ++copy) {
    if (training.replica_of(copy) == replica) return whole_.task_of(op, copy);
  }
  return std::nullopt;  // no microbatch is bound to the replica
}

std::vector<std::vector<TimedPiece>> BlockProblem::find_devices(const Budget& budget) {
  const std::size_t devices = whole_.cluster().device_count();
  const std::uint32_t replicas = whole_.settings().training.replicas;
  std::vector<std::vector<TimedPiece>> timed;
  std::map<PieceWork, std::size_t> known;
  for (const Piece& piece : pieces_) {
    PieceWork work;
    work.predecessors = predecessors_within(whole_.graph(), piece);
    for (const OperatorId op : piece.operators) work.streams.push_back(whole_.streams(whole_.task_of(op, 0)));
    std::set<std::pair<std::size_t, std::vector<Bytes>>> seen;
    order_on_.emplace_back(devices);
    allowed_.emplace_back(replicas);
    timed.emplace_back();
    for (std::uint32_t replica = 0; replica < replicas; ++replica) {
      if (!task_in(piece.operators.front(), replica)) continue;
      std::size_t farthest = 0;
      for (std::size_t d = 0; d < devices; ++d) {
        std::vector<Bytes> workspaces;
        work.durations.clear();
        for (const OperatorId op : piece.operators) {
          const TaskId task = *task_in(op, replica);
          const auto index = whole_.mode_on(task, DeviceId(d));
          if (!index) break;
          work.durations.push_back(whole_.mode(task, *index).duration);
          workspaces.push_back(whole_.mode(task, *index).workspace);
        }
        farthest = std::max(farthest, work.durations.size());
        if (work.durations.size() < piece.operators.size()) continue;
        allowed_.back()[replica].emplace_back(d);
        if (order_on_.back()[d]) continue;
        const auto [entry, is_new] = known.try_emplace(work, orders_.size());
        if (is_new) orders_.push_back(order_piece(work, budget));
        order_on_.back()[d] = entry->second;
        if (seen.emplace(entry->second, workspaces).second) {
          timed.back().push_back(timed_piece(orders_[entry->second], work, std::move(workspaces)));
        }
      }
      if (!allowed_.back()[replica].empty()) continue;
      throw InputError(fmt::format(
          "{} cannot run in one piece: no device runs all of its {} operators alone, none that runs those before "
          "\"{}\" runs that one",
          piece.name(whole_.graph(), blocks_), piece.operators.size(),
          whole_.graph().at(piece.operators[farthest]).name));
    }
  }
  return timed;
}

/// Devices are of one type unless the times of some piece tell them apart.
void BlockProblem::find_types() {
  for (std::size_t d = 0; d < whole_.cluster().device_count(); ++d) {
    const auto agrees = [&](const std::vector<std::optional<std::size_t>>& type) {
      for (std::size_t p = 0; p < pieces_.size(); ++p) {
        if (type[p] && order_on_[p][d] && type[p] != order_on_[p][d]) return false;
      }
      return true;
    };
    const auto found = std::ranges::find_if(order_of_type_, agrees);
    type_of_device_.push_back(static_cast<std::size_t>(found - order_of_type_.begin()));
    if (found == order_of_type_.end()) order_of_type_.emplace_back(pieces_.size());
    auto& type = order_of_type_[type_of_device_.back()];
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      if (order_on_[p][d]) type[p] = order_on_[p][d];
    }
  }
}

std::vector<Operator> BlockProblem::make_operators() const {
  const ComputationGraph& graph = whole_.graph();
  Labels labels;
  const auto block_label = [](const Piece& piece) { return "block " + piece.block; };
  std::map<std::string, std::vector<std::size_t>> of_block;
  std::vector<OperatorId> updates;
  for (std::size_t p = 0; p < pieces_.size(); ++p) {
    const Piece& piece = pieces_[p];
    if (piece.phase == Phase::kWeightGradient || piece.phase == Phase::kBackward) updates.emplace_back(p);
    if (!piece.block.empty()) of_block[piece.block].push_back(p);
    for (const OperatorId id : piece.operators) {
      const std::string& label = graph.at(id).colocation;
      if (!label.empty() && !piece.block.empty()) labels.join("label " + label, block_label(piece));
    }
  }
  std::vector<Operator> operators(pieces_.size());
  for (std::size_t p = 0; p < pieces_.size(); ++p) {
    const Piece& piece = pieces_[p];
    Operator& op = operators[p];
    const Operator& first = graph.at(piece.operators.front());
    op.name = piece.block.empty() ? "operator " + first.name : piece.name(graph, blocks_);
    op.phase = piece.phase;
    op.stage = first.stage;
    op.layer = first.layer;
    if (!piece.block.empty()) {
      op.colocation = labels.find(block_label(piece));
    } else if (!first.colocation.empty()) {
      op.colocation = labels.find("label " + first.colocation);
    }
    for (const OperatorId id : piece.operators) {
      const Operator& member = graph.at(id);
      if (member.stage != op.stage) op.stage.reset();
      if (member.layer != op.layer) op.layer.clear();
      op.parameters.insert(op.parameters.end(), member.parameters.begin(), member.parameters.end());
      op.anti_colocation.insert(op.anti_colocation.end(), member.anti_colocation.begin(), member.anti_colocation.end());
      for (const OperatorId earlier : member.after) {
        if (piece_of_[earlier.index()] != p) op.after.emplace_back(piece_of_[earlier.index()]);
      }
      // A step without parameters waits for all gradients, also beside steps of some.
      if (piece.phase == Phase::kOptimizer && member.parameters.empty()) {
        op.after.insert(op.after.end(), updates.begin(), updates.end());
      }
    }
    for (const std::size_t other : of_block[piece.block]) {
      if (comes_before(pieces_[other].phase, piece.phase)) op.after.emplace_back(other);
    }
    sort_out_repeats(op.parameters);
    sort_out_repeats(op.anti_colocation);
    sort_out_repeats(op.after);
    set_places(op, p);
  }
  return operators;
}

/// Devices are listed where a piece cannot run on all of them, or not in every replica.
void BlockProblem::set_places(Operator& op, std::size_t piece) const {
  const auto is_everywhere = [&](const std::vector<DeviceId>& list) {
    return list.size() == whole_.cluster().device_count();
  };
  std::vector<std::vector<DeviceId>> lists = allowed_[piece];
  const auto some = std::ranges::find_if(lists, [](const auto& list) { return !list.empty(); });
  for (auto& list : lists) {
    if (list.empty()) list = *some;
  }
  if (std::ranges::all_of(lists, is_everywhere)) return;
  if (std::ranges::adjacent_find(lists, std::not_equal_to<>()) == lists.end()) lists.resize(1);
  for (const auto& list : lists) {
    op.devices.emplace_back();
    for (const DeviceId device : list) op.devices.back().push_back(whole_.cluster().at(device).name);
  }
}

Cluster BlockProblem::make_cluster(bool relaxed) const {
  ClusterParts parts = whole_.cluster().parts();
  parts.types.clear();
  for (std::size_t type = 0; type < order_of_type_.size(); ++type) {
    parts.types.push_back({fmt::format("type {}", type), {}, std::nullopt});
  }
  for (std::size_t d = 0; d < parts.devices.size(); ++d) {
    Device& device = parts.devices[d];
    device.type = parts.types[type_of_device_[d]].name;
    device.streams = {"compute"};
    if (relaxed) device.memory.reset();
  }
  return Cluster::create(std::move(parts));
}

Problem BlockProblem::make_problem(bool relaxed) const {
  std::vector<Operator> operators = operators_;
  for (std::size_t p = 0; p < operators.size(); ++p) {
    for (std::size_t type = 0; type < order_of_type_.size(); ++type) {
      if (const auto order = order_of_type_[type][p]) {
        const Duration duration = relaxed ? orders_[*order].shortest : orders_[*order].length;
        operators[p].durations.push_back({fmt::format("type {}", type), duration});
      }
    }
  }
  ProblemSettings settings = whole_.settings();
  settings.blocks = Blocks::kNone;
  if (relaxed) settings.memory_limit.reset();
  try {
    return Problem::create(ComputationGraph::create(whole_.graph().name(), std::move(operators), tensors_,
                                                    whole_.graph().parameters(), settings.training),
                           make_cluster(relaxed), settings);
  } catch (const InputError& error) {
    throw InputError(fmt::format("pieces by {}: {}", to_string(blocks_), error.what()),
                     "a piece starts when all that its operators need from others is there, and gives away what they "
                     "make when all have ended, on one device per block");
  }
}

Problem BlockProblem::relaxed() const { return make_problem(true); }

/// Everything at once fits on every device.
bool BlockProblem::memory_suffices() const {
  const Problem& problem = *pieces_as_operators_;
  Bytes all;
  for (std::size_t v = 0; v < problem.value_count(); ++v) all += problem.size(ValueId(v));
  for (std::size_t p = 0; p < problem.graph().parameters().size(); ++p) {
    all += problem.persistent_bytes(ParameterId(p));
  }
  for (const Operator& op : operators_) all += op.workspace;
  for (std::size_t d = 0; d < problem.cluster().device_count(); ++d) {
    const auto capacity = problem.capacity(DeviceId(d));
    if (capacity && *capacity < all) return false;
  }
  return true;
}

Schedule BlockProblem::expand(const Schedule& schedule) const {
  const Problem& coarse = *pieces_as_operators_;
  Schedule result;
  result.tasks.resize(whole_.task_count());
  for (std::size_t t = 0; t < coarse.task_count(); ++t) {
    const TaskId piece(t);
    const TaskAssignment& assignment = schedule.tasks[t];
    const DeviceId device = coarse.mode(piece, assignment.mode).devices.front();
    const std::size_t p = coarse.task(piece).op.index();
    const PieceOrder& order = orders_[*order_on_[p][device.index()]];
    for (std::size_t i = 0; i < order.starts.size(); ++i) {
      const TaskId task = whole_.task_of(pieces_[p].operators[i], coarse.task(piece).copy);
      result.tasks[task.index()] = {*whole_.mode_on(task, device), assignment.start + order.starts[i]};
    }
  }
  result.transfers.reserve(schedule.transfers.size());
  for (Transfer transfer : schedule.transfers) {
    const auto tensor = original_[coarse.tensor_of(transfer.value).index()];
    if (!tensor) throw InternalError("bytes that stay in a block were sent");
    transfer.value = whole_.value_of(*tensor, coarse.copy_of(transfer.value));
    result.transfers.push_back(transfer);
  }
  return result;
}

Schedule BlockProblem::contract(const Schedule& schedule) const {
  const Problem& coarse = *pieces_as_operators_;
  Schedule result;
  result.tasks.resize(coarse.task_count());
  for (std::size_t t = 0; t < coarse.task_count(); ++t) {
    const TaskId piece(t);
    const Task& whole = coarse.task(piece);
    std::optional<Duration> start;
    DeviceId device;
    for (const OperatorId op : pieces_[whole.op.index()].operators) {
      const TaskId task = whole_.task_of(op, whole.copy);
      const TaskAssignment& assignment = schedule.tasks[task.index()];
      device = whole_.mode(task, assignment.mode).devices.front();
      start = std::min(start.value_or(assignment.start), assignment.start);
    }
    result.tasks[t] = {*coarse.mode_on(piece, device), *start};
  }
  std::map<TensorId, TensorId> contracted;
  for (std::size_t t = 0; t < original_.size(); ++t) {
    if (original_[t]) contracted.emplace(*original_[t], TensorId(t));
  }
  for (Transfer transfer : schedule.transfers) {
    const TensorId tensor = contracted.at(whole_.tensor_of(transfer.value));
    transfer.value = coarse.value_of(tensor, whole_.copy_of(transfer.value));
    result.transfers.push_back(transfer);
  }
  return result;
}

}  // namespace opweave
