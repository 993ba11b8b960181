#include <algorithm>
#include <map>

#include "bounds/chain_entry.h"
#include "bounds/packing.h"

namespace opweave::bounds {
namespace {

constexpr std::size_t kMostClassEntries = 2'000'000;  // class x kind of device

/// Collects the groups and devices of a problem by what matters for packing.
class Collector {
 public:
  Collector(const Relaxation& relaxation, const Ends& ends, StreamId stream)
      : r_(relaxation), problem_(r_.problem()), ends_(ends), stream_(stream) {}

  std::optional<PackingProblem> collect() {
    count_readers();
    find_kinds();
    // Copies of an operator that belong to nobody are looked at once.
    std::map<std::pair<std::size_t, std::uint32_t>, std::size_t> known;
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      const GroupId group(g);
      const auto tasks = problem_.tasks_of(group);
      if (!r_.placement().options(group).single_devices) continue;
      if (tasks.size() > 1 || !problem_.parameters_of(group).empty()) {
        (void)add(class_of(group));
      } else if (const auto copy = known.find({variant(tasks.front()), r_.placement().list_of(group)});
                 copy != known.end()) {
        add_copy(result_.classes[copy->second], tasks.front());
      } else {
        known[{variant(tasks.front()), r_.placement().list_of(group)}] = add(class_of(group));
      }
      if (result_.classes.size() * result_.kinds.size() > kMostClassEntries) return std::nullopt;
    }
    std::erase_if(result_.classes, [](const PackedClass& each) {
      const bool takes_time =
          std::ranges::any_of(each.time, [](Nanoseconds time) { return time > 0 && time != PackedClass::kNowhere; });
      return !takes_time && each.bytes == 0;
    });
    if (result_.classes.empty()) return std::nullopt;
    const std::vector<std::vector<Nanoseconds>> entries = chain_entries(problem_, example_);
    for (std::size_t k = 0; k < entries.size(); ++k) result_.kinds[k].entries = entries[k];
    return std::move(result_);
  }

 private:
  [[nodiscard]] std::size_t variant(TaskId task) const {
    const Task& t = problem_.task(task);
    return t.op.index() * problem_.settings().training.replicas + t.replica;
  }

  void count_readers() {
    readers_.assign(problem_.graph().parameters().size(), 0);
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      for (const ParameterId parameter : problem_.parameters_of(GroupId(g))) ++readers_[parameter.index()];
    }
  }

  /// Devices are of one kind if their type and capacity are equal and the same groups may run there. Where durations
  /// are given device by device, each is a kind of its own.
  void find_kinds() {
    const std::size_t devices = problem_.cluster().device_count();
    std::vector<std::vector<std::uint32_t>> lists(devices);
    for (std::uint32_t list = 0; list < r_.placement().lists().size(); ++list) {
      for (const DeviceId device : r_.placement().lists()[list].any) lists[device.index()].push_back(list);
    }
    std::vector<bool> is_own_kind(r_.placement().lists().size(), false);
    for (std::size_t g = 0; g < problem_.group_count(); ++g) {
      if (problem_.op(problem_.tasks_of(GroupId(g)).front()).modes.empty()) continue;
      is_own_kind[r_.placement().list_of(GroupId(g))] = true;
    }
    std::map<std::tuple<std::string, std::optional<Bytes>, std::vector<std::uint32_t>, std::size_t>, std::size_t> known;
    for (std::size_t d = 0; d < devices; ++d) {
      const DeviceId device(d);
      if (lists[d].empty()) continue;
      const bool is_own = std::ranges::any_of(lists[d], [&](std::uint32_t list) { return is_own_kind[list]; });
      const auto [entry, is_new] = known.try_emplace(
          {problem_.cluster().at(device).type, problem_.capacity(device), lists[d], is_own ? d : devices},
          result_.kinds.size());
      if (is_new) {
        const std::optional<Bytes> capacity = problem_.capacity(device);
        result_.kinds.push_back({0, capacity ? std::optional(capacity->value()) : std::nullopt});
        example_.push_back(device);
      }
      ++result_.kinds[entry->second].count;
    }
  }

  [[nodiscard]] PackedClass class_of(GroupId group) const {
    PackedClass result;
    result.head = result.tail = PackedClass::kNowhere;
    const DeviceSet& allowed = r_.placement().options(group).any;
    result.time.reserve(result_.kinds.size());
    for (const DeviceId device : example_) result.time.push_back(contains(allowed, device) ? 0 : PackedClass::kNowhere);
    std::map<std::size_t, std::pair<TaskId, std::int64_t>> copies;  // by variant: one, and how many
    for (const TaskId task : problem_.tasks_of(group)) {
      if (holds_stream(task)) {
        result.head = std::min(result.head, ends_.head[task.index()]);
        result.tail = std::min(result.tail, ends_.tail[task.index()]);
      }
      ++copies.try_emplace(variant(task), task, 0).first->second.second;
    }
    for (const auto& [key, entry] : copies) {
      const auto& [task, count] = entry;
      result.need = std::max(result.need, need_of(task));
      if (!holds_stream(task)) continue;
      for (std::size_t k = 0; k < example_.size(); ++k) {
        if (result.time[k] == PackedClass::kNowhere) continue;
        result.time[k] += count * problem_.mode(task, *problem_.mode_on(task, example_[k])).duration.value();
      }
    }
    // A device that has several replicas of a parameter keeps it once.
    for (const ParameterId parameter : problem_.parameters_of(group)) {
      result.bytes += problem_.persistent_bytes(parameter).value() / readers_[parameter.index()];
    }
    result.count = 1;
    return result;
  }

  void add_copy(PackedClass& copies, TaskId task) const {
    ++copies.count;
    if (!holds_stream(task)) return;
    copies.head = std::min(copies.head, ends_.head[task.index()]);
    copies.tail = std::min(copies.tail, ends_.tail[task.index()]);
  }

  [[nodiscard]] bool holds_stream(TaskId task) const { return (problem_.streams(task) >> stream_.index() & 1U) != 0; }

  /// A task that may take no time holds nothing for any time.
  [[nodiscard]] std::int64_t need_of(TaskId task) const {
    if (problem_.shortest(task) == Duration()) return 0;
    Bytes sum = problem_.op(task).workspace;
    for (const ValueId value : problem_.inputs(task)) sum += problem_.size(value);
    for (const ValueId value : problem_.outputs(task)) sum += problem_.size(value);
    return sum.value();
  }

  /// Joins it with the class that takes as much, if there is one: the least of their heads and tails hold for both.
  std::size_t add(PackedClass found) {
    std::vector<std::int64_t> key = found.time;
    key.insert(key.end(), {found.bytes, found.need});
    const auto [entry, is_new] = alike_.try_emplace(std::move(key), result_.classes.size());
    if (is_new) {
      result_.classes.push_back(std::move(found));
    } else {
      PackedClass& same = result_.classes[entry->second];
      ++same.count;
      same.head = std::min(same.head, found.head);
      same.tail = std::min(same.tail, found.tail);
    }
    return entry->second;
  }

  const Relaxation& r_;
  const Problem& problem_;
  const Ends& ends_;
  const StreamId stream_;
  PackingProblem result_;
  std::map<std::vector<std::int64_t>, std::size_t> alike_;
  std::vector<DeviceId> example_;      // by kind
  std::vector<std::int64_t> readers_;  // groups by parameter
};

}  // namespace

std::optional<PackingProblem> packing_problem(const Relaxation& relaxation, const Ends& ends, StreamId stream) {
  return Collector(relaxation, ends, stream).collect();
}

}  // namespace opweave::bounds
