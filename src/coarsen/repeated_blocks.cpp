#include "coarsen/repeated_blocks.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "coarsen/merging.h"
#include "core/equal_devices.h"

namespace opweave::coarsen {
namespace {

/// Blocks that stay: at one end, where the last of them stands for all that are left out, and at the other end.
constexpr std::int64_t kFirst = 2;
constexpr std::int64_t kLast = 1;
/// Fewer blocks are planned as they are.
constexpr std::int64_t kFewest = 6;
/// Levels of the longest block, and of the longest graph, that are looked at.
constexpr std::size_t kLongestPeriod = 500;
constexpr std::size_t kMostLevels = 20'000;

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {  // splitmix64
  hash += value + 0x9e3779b97f4a7c15U;
  hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9U;
  hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebU;
  return hash ^ (hash >> 31U);
}

/// Levels of the graph that repeat: block b has those from first + b * period.
struct Zone {
  std::size_t first = 0;
  std::size_t period = 0;
  std::int64_t blocks = 0;
  // Coordinate of block b: sign * b + shift, the same for what belongs together in several zones.
  std::int64_t sign = 1;
  std::int64_t shift = 0;

  [[nodiscard]] std::size_t end() const { return first + static_cast<std::size_t>(blocks) * period; }
  [[nodiscard]] bool includes(std::size_t level) const { return level >= first && level < end(); }
  [[nodiscard]] std::int64_t block(std::size_t level) const {
    return static_cast<std::int64_t>((level - first) / period);
  }
  [[nodiscard]] std::int64_t coordinate(std::size_t level) const { return sign * block(level) + shift; }
  [[nodiscard]] std::int64_t least() const { return std::min(shift, sign * (blocks - 1) + shift); }
  [[nodiscard]] std::int64_t most() const { return std::max(shift, sign * (blocks - 1) + shift); }
  /// The level at the same place in the block with another coordinate.
  [[nodiscard]] std::size_t moved(std::size_t level, std::int64_t coordinate) const {
    const auto block = static_cast<std::size_t>(sign * (coordinate - shift));
    return first + block * period + (level - first) % period;
  }
};

class Finder {
 public:
  explicit Finder(const Problem& problem) : problem_(problem), level_(problem.task_count(), 0) {}

  bool find() {
    find_levels();
    if (levels_.size() > kMostLevels) return false;
    rank_tasks();
    find_zones();
    if (zones_.empty()) return false;
    align();
    std::int64_t least = zones_.front().least();
    std::int64_t most = zones_.front().most();
    for (const Zone& zone : zones_) {
      least = std::max(least, zone.least());
      most = std::min(most, zone.most());
    }
    blocks_ = most - least + 1;
    if (blocks_ < kFewest) return false;
    from_ = least + kFirst;
    until_ = most + 1 - kLast;
    return true;
  }

  [[nodiscard]] std::int64_t blocks() const { return blocks_; }

  [[nodiscard]] bool is_left_out(TaskId task) const {
    const Zone* zone = zone_of(task);
    if (zone == nullptr) return false;
    const std::int64_t coordinate = zone->coordinate(level_[task.index()]);
    return coordinate >= from_ && coordinate < until_;
  }

  /// The task at the same place in the block that stands for those that are left out. \pre is_left_out(task)
  [[nodiscard]] std::optional<TaskId> example(TaskId task) const { return moved(task, from_ - 1); }

  /// Blocks left out before it, seen from the first ones: all of them for what is on the other side.
  [[nodiscard]] std::vector<std::uint32_t> turns() const {
    std::vector<std::uint32_t> result(level_.size(), 0);
    for (std::size_t t = 0; t < level_.size(); ++t) {
      if (const Zone* zone = zone_of(TaskId(t))) {
        const std::int64_t coordinate = std::min(zone->coordinate(level_[t]), until_);
        result[t] = static_cast<std::uint32_t>(std::max<std::int64_t>(0, coordinate - from_ + 1));
        if (coordinate == until_) --result[t];
        continue;
      }
      for (const TaskId before : problem_.predecessors(TaskId(t))) {
        result[t] = std::max(result[t], result[before.index()]);
      }
    }
    return result;
  }

  struct Handover {
    TaskId from;
    TaskId to;
    Bytes bytes;
  };
  /// What the block that stands for others reads from its neighbours.
  [[nodiscard]] std::vector<Handover> handovers() const {
    std::vector<Handover> result;
    const std::int64_t here = from_ - 1;
    for (std::size_t t = 0; t < level_.size(); ++t) {
      const TaskId task(t);
      const Zone* zone = zone_of(task);
      if (zone == nullptr || zone->coordinate(level_[t]) != here) continue;
      for (const ValueId value : problem_.inputs(task)) {
        const auto producer = problem_.producer(value);
        const Zone* other = producer ? zone_of(*producer) : nullptr;
        if (other == nullptr) continue;
        const std::int64_t there = other->coordinate(level_[producer->index()]);
        const auto same_here = moved(*producer, here);
        const auto same_last = moved(*producer, until_);
        if (there == here - 1 && same_here) result.push_back({*producer, *same_here, problem_.size(value)});
        if (there == here + 1 && same_here && same_last) {
          result.push_back({*same_here, *same_last, problem_.size(value)});
        }
      }
    }
    return result;
  }

  /// What takes the place of `before` as a predecessor of `task`, when the blocks are gone.
  [[nodiscard]] std::optional<TaskId> predecessor(TaskId task, TaskId before) const {
    if (!is_left_out(before)) return before;
    const Zone* zone = zone_of(task);
    if (zone == nullptr) return std::nullopt;
    // As many blocks away as before, counted in those that stay.
    const std::int64_t here = zone->coordinate(level_[task.index()]);
    const std::int64_t distance = zone_of(before)->coordinate(level_[before.index()]) - here;
    std::int64_t there = (here < from_ ? here : here - (until_ - from_)) + distance;
    if (there >= from_) there += until_ - from_;
    const std::optional<TaskId> result = moved(before, there);
    const bool is_earlier = result && position(*result) < position(task);
    return is_earlier ? result : std::nullopt;
  }

 private:
  void find_levels() {
    std::size_t depth = 0;
    for (std::size_t t = 0; t < level_.size(); ++t) {  // ascending ids are a topological order
      for (const TaskId before : problem_.predecessors(TaskId(t))) {
        level_[t] = std::max(level_[t], level_[before.index()] + 1);
      }
      depth = std::max(depth, level_[t] + 1);
    }
    levels_.resize(depth);
    for (std::size_t t = 0; t < level_.size(); ++t) levels_[level_[t]].emplace_back(t);
  }

  /// What a task is like, but for where it stands.
  [[nodiscard]] std::uint64_t signature(TaskId task) const {
    std::uint64_t hash = mixed(problem_.streams(task), problem_.mode_count(task));
    for (ModeIndex m = 0; m < problem_.mode_count(task); ++m) {
      const Mode mode = problem_.mode(task, m);
      hash = mixed(hash, static_cast<std::uint64_t>(mode.duration.value()));
      hash = mixed(hash, static_cast<std::uint64_t>(mode.workspace.value()));
      hash = mixed(hash, mode.devices.front().index());
    }
    const auto add_sizes = [&](auto values) {
      hash = mixed(hash, values.size());
      for (const ValueId value : values) hash = mixed(hash, static_cast<std::uint64_t>(problem_.size(value).value()));
    };
    add_sizes(problem_.inputs(task));
    add_sizes(problem_.outputs(task));
    hash = mixed(hash, problem_.predecessors(task).size());
    for (const ParameterId parameter : problem_.op(task).parameters) {
      hash = mixed(hash, static_cast<std::uint64_t>(problem_.persistent_bytes(parameter).value()));
    }
    return mixed(hash, problem_.successors(task).size());
  }

  /// Orders the tasks of every level by what they are like and what they follow, so that equal levels have the same
  /// order.
  void rank_tasks() {
    std::vector<std::uint64_t> signature_of(level_.size());
    for (std::size_t t = 0; t < level_.size(); ++t) signature_of[t] = signature(TaskId(t));
    rank_.resize(level_.size());
    std::vector<std::pair<std::vector<std::uint64_t>, TaskId>> keys;
    for (std::vector<TaskId>& tasks : levels_) {
      keys.clear();
      std::uint64_t sum = mixed(0, tasks.size());
      for (const TaskId task : tasks) {
        std::vector<std::uint64_t> key = {signature_of[task.index()]};
        sum += mixed(0, key.front());
        for (const TaskId before : problem_.predecessors(task)) key.push_back(rank_[before.index()]);
        keys.emplace_back(std::move(key), task);
      }
      std::ranges::sort(keys);
      for (std::size_t i = 0; i < keys.size(); ++i) {
        tasks[i] = keys[i].second;
        rank_[tasks[i].index()] = static_cast<std::uint32_t>(i);
      }
      hash_.push_back(sum);
    }
  }

  /// The zone that leaves out most tasks, and then the best one beside it, on the other side of the graph.
  void find_zones() {
    for (int i = 0; i < 2; ++i) {
      Zone best;
      std::size_t most = 0;
      for (std::size_t period = 1; period <= std::min(kLongestPeriod, levels_.size() / kFewest); ++period) {
        std::size_t run = 0;
        for (std::size_t level = 0; level + period <= levels_.size(); ++level) {
          const bool is_equal =
              level + period < levels_.size() && !is_in_zone(level, period) && hash_[level] == hash_[level + period];
          if (is_equal) {
            ++run;
            continue;
          }
          const Zone zone{level - run, period, static_cast<std::int64_t>(run / period) + 1};
          run = 0;
          if (zone.blocks < kFewest) continue;
          std::size_t saved = 0;
          for (std::size_t l = zone.first + period * (kFirst + kLast); l < zone.end(); ++l) saved += levels_[l].size();
          if (saved > most) {
            most = saved;
            best = zone;
          }
        }
      }
      if (most == 0) return;
      zones_.push_back(best);
    }
  }

  [[nodiscard]] bool is_in_zone(std::size_t level, std::size_t period) const {
    return std::ranges::any_of(zones_,
                               [&](const Zone& zone) { return level + period >= zone.first && level < zone.end(); });
  }

  /// Blocks of the second zone get the coordinates of those blocks of the first that they read most from, or that read
  /// from them: in the same direction, or, as gradients do, in the opposite one.
  void align() {
    if (zones_.size() < 2) return;
    std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> votes;  // by sign and shift
    for (std::size_t t = 0; t < level_.size(); ++t) {
      for (const TaskId before : problem_.predecessors(TaskId(t))) {
        std::size_t one = level_[before.index()];
        std::size_t other = level_[t];
        if (!zones_[0].includes(one)) std::swap(one, other);
        if (!zones_[0].includes(one) || !zones_[1].includes(other)) continue;
        const std::int64_t a = zones_[0].block(one);
        const std::int64_t b = zones_[1].block(other);
        ++votes[{1, a - b}];
        ++votes[{-1, a + b}];
      }
    }
    const auto best = std::ranges::max_element(votes, {}, [](const auto& vote) { return vote.second; });
    if (best == votes.end()) return;
    zones_[1].sign = best->first.first;
    zones_[1].shift = best->first.second;
  }

  [[nodiscard]] const Zone* zone_of(TaskId task) const {
    for (const Zone& zone : zones_) {
      if (zone.includes(level_[task.index()])) return &zone;
    }
    return nullptr;
  }

  [[nodiscard]] std::optional<TaskId> moved(TaskId task, std::int64_t coordinate) const {
    const Zone* zone = zone_of(task);
    if (coordinate < zone->least() || coordinate > zone->most()) return std::nullopt;
    const std::vector<TaskId>& tasks = levels_[zone->moved(level_[task.index()], coordinate)];
    const std::uint32_t rank = rank_[task.index()];
    return rank < tasks.size() ? std::optional(tasks[rank]) : std::nullopt;
  }

  /// Level without those that are left out. \pre the task stays
  [[nodiscard]] std::size_t position(TaskId task) const {
    const std::size_t level = level_[task.index()];
    std::size_t position = level;
    for (const Zone& zone : zones_) {
      const std::int64_t one = zone.sign * (from_ - zone.shift);
      const std::int64_t other = zone.sign * (until_ - 1 - zone.shift);
      const std::size_t begin = zone.first + static_cast<std::size_t>(std::min(one, other)) * zone.period;
      const auto count = static_cast<std::size_t>(until_ - from_) * zone.period;
      if (level >= begin + count) position -= count;
    }
    return position;
  }

  const Problem& problem_;
  std::vector<std::size_t> level_;           ///< by task: edges on the longest path to it
  std::vector<std::vector<TaskId>> levels_;  ///< tasks by rank
  std::vector<std::uint32_t> rank_;          ///< by task, within its level
  std::vector<std::uint64_t> hash_;          ///< by level: equal for levels of like tasks
  std::vector<Zone> zones_;
  std::int64_t blocks_ = 0;
  std::int64_t from_ = 0;  ///< coordinates from here until there are left out
  std::int64_t until_ = 0;
};

}  // namespace

std::optional<RepeatedBlocks> RepeatedBlocks::find(const Problem& problem) {
  Finder finder(problem);
  if (!finder.find()) return std::nullopt;
  const ComputationGraph& graph = problem.graph();
  const auto task_of = [&](OperatorId op) { return problem.task_of(op, 0); };

  RepeatedBlocks result;
  result.blocks_ = static_cast<std::size_t>(finder.blocks());
  std::vector<std::uint32_t> new_operator(graph.operators().size(), kNone);
  std::vector<std::uint32_t> new_tensor(graph.tensors().size(), kNone);
  std::vector<Operator> operators;
  std::vector<Tensor> tensors;
  const auto add_tensor = [&](TensorId tensor) {
    new_tensor[tensor.index()] = static_cast<std::uint32_t>(tensors.size());
    tensors.push_back({graph.at(tensor).name, graph.at(tensor).size, std::nullopt, {}});
  };
  for (std::size_t o = 0; o < new_operator.size(); ++o) {
    if (finder.is_left_out(task_of(OperatorId(o)))) continue;
    new_operator[o] = static_cast<std::uint32_t>(operators.size());
    operators.push_back(graph.operators()[o]);
    for (const TensorId output : graph.operators()[o].outputs) add_tensor(output);
  }
  for (std::size_t o = 0; o < new_operator.size(); ++o) {
    if (new_operator[o] == kNone) continue;
    Operator& op = operators[new_operator[o]];
    const TaskId task = task_of(OperatorId(o));
    std::vector<TensorId> inputs;
    for (const TensorId input : std::exchange(op.inputs, {})) {
      std::optional<TensorId> from = input;
      if (const auto producer = graph.at(input).producer) {
        const auto before = finder.predecessor(task, task_of(*producer));
        const auto& outputs = graph.at(*producer).outputs;
        const auto place = static_cast<std::size_t>(std::ranges::find(outputs, input) - outputs.begin());
        from.reset();
        if (before && place < problem.op(*before).outputs.size()) from = problem.op(*before).outputs[place];
      } else if (new_tensor[input.index()] == kNone) {
        add_tensor(input);
      }
      if (!from) continue;
      const TensorId tensor(new_tensor[from->index()]);
      if (std::ranges::find(op.inputs, tensor) == op.inputs.end()) op.inputs.push_back(tensor);
    }
    for (TensorId& output : op.outputs) output = TensorId(new_tensor[output.index()]);
    for (const OperatorId earlier : std::exchange(op.after, {})) {
      const auto before = finder.predecessor(task, task_of(earlier));
      if (!before) continue;
      const OperatorId mapped(new_operator[problem.task(*before).op.index()]);
      if (std::ranges::find(op.after, mapped) == op.after.end()) op.after.push_back(mapped);
    }
  }
  for (std::size_t t = 0; t < problem.task_count(); ++t) {
    const TaskId task(t);
    const std::optional<TaskId> like = finder.is_left_out(task) ? finder.example(task) : task;
    if (!like) return std::nullopt;
    result.like_.emplace_back(new_operator[problem.task(*like).op.index()]);
  }
  result.turns_ = finder.turns();
  const auto few = [&](TaskId task) { return OperatorId(new_operator[problem.task(task).op.index()]); };
  for (const auto& [from, to, bytes] : finder.handovers()) result.handovers_.push_back({few(from), few(to), bytes});
  result.few_ = Problem::create(ComputationGraph::create(graph.name(), std::move(operators), std::move(tensors),
                                                         graph.parameters(), problem.settings().training),
                                problem.cluster(), problem.settings());
  return result;
}

std::vector<DeviceId> RepeatedBlocks::exchange(const Schedule& few) const {
  const std::size_t count = few_->cluster().device_count();
  std::vector<DeviceId> next;
  for (std::size_t d = 0; d < count; ++d) next.emplace_back(d);
  if (!devices_are_alike(*few_)) return next;
  const auto device_of = [&](OperatorId op) {
    const TaskId task = few_->task_of(op, 0);
    return few_->mode(task, few.tasks[task.index()].mode).devices.front();
  };
  std::map<std::pair<DeviceId, DeviceId>, std::int64_t> bytes;
  for (const Handover& handover : handovers_) {
    bytes[{device_of(handover.from), device_of(handover.to)}] += handover.bytes.value();
  }
  std::vector<std::pair<std::int64_t, std::pair<DeviceId, DeviceId>>> by_bytes;
  for (const auto& [pair, sum] : bytes) by_bytes.emplace_back(sum, pair);
  std::ranges::sort(by_bytes, std::greater());
  // Exchanges keep the rest where it is.
  std::vector<bool> is_set(count, false);
  std::vector<bool> is_taken(count, false);
  for (const auto& [sum, pair] : by_bytes) {
    const auto& [from, to] = pair;
    if (is_set[from.index()] || is_taken[to.index()]) continue;
    is_set[from.index()] = true;
    is_taken[to.index()] = true;
    const auto holder = std::ranges::find(next, to) - next.begin();
    std::swap(next[from.index()], next[static_cast<std::size_t>(holder)]);
  }
  return next;
}

std::optional<std::vector<ModeIndex>> RepeatedBlocks::expand(const Problem& whole, const Schedule& few) const {
  std::vector<ModeIndex> modes(whole.task_count());
  // By blocks left out: where what lies on a device comes to lie.
  const std::vector<DeviceId> next = exchange(few);
  std::vector<std::vector<DeviceId>> turned(1);
  for (std::size_t d = 0; d < next.size(); ++d) turned.front().emplace_back(d);
  while (turned.size() <= blocks_) {
    turned.emplace_back();
    for (const DeviceId device : turned[turned.size() - 2]) turned.back().push_back(next[device.index()]);
  }
  for (std::size_t g = 0; g < whole.group_count(); ++g) {
    const auto tasks = whole.tasks_of(GroupId(g));
    const TaskId like = few_->task_of(like_[tasks.front().index()], 0);
    const DeviceId planned = few_->mode(like, few.tasks[like.index()].mode).devices.front();
    const DeviceId device = turned[turns_[tasks.front().index()]][planned.index()];
    for (const TaskId task : tasks) {
      const std::optional<ModeIndex> mode = whole.mode_on(task, device);
      if (!mode) return std::nullopt;
      modes[task.index()] = *mode;
    }
  }
  return modes;
}

}  // namespace opweave::coarsen
