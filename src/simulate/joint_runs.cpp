#include "simulate/joint_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

#include "opweave/error.h"

namespace opweave::simulation {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

class JointRunBuilder {
 public:
  JointRunBuilder(const Problem& problem, const ExecutionOrder& order, const std::vector<Duration>& durations,
                  bool slowed)
      : problem_(problem), order_(order), other_durations_(durations), repack_(slowed || !durations.empty()) {}

  JointRuns build() {
    choose_modes();
    tie_blocks();
    number_runs();
    place_members();
    fill_queues();
    for (std::size_t p = 0; p < result_.runs.size(); ++p) check_members(p);
    if (!other_durations_.empty()) {
      for (std::size_t p = 0; p < result_.runs.size(); ++p) pack(p);
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] static void fail(const std::string& message) { throw InputError("execution order: " + message); }

  [[nodiscard]] std::string name(TaskId task) const { return fmt::format("\"{}\"", problem_.task_name(task)); }
  [[nodiscard]] std::string name(std::size_t device) const {
    return fmt::format("\"{}\"", problem_.cluster().devices()[device].name);
  }

  void choose_modes() {
    const std::size_t task_count = problem_.task_count();
    if (order_.modes.size() != task_count) {
      fail(fmt::format("{} modes for {} tasks", order_.modes.size(), task_count));
    }
    if (order_.devices.size() != problem_.cluster().device_count()) {
      fail(fmt::format("{} lists of blocks for {} devices", order_.devices.size(), problem_.cluster().device_count()));
    }
    if (!other_durations_.empty() && other_durations_.size() != task_count) {
      fail(fmt::format("{} durations for {} tasks", other_durations_.size(), task_count));
    }
    result_.devices.reserve(task_count);
    result_.durations.reserve(task_count);
    for (std::size_t t = 0; t < task_count; ++t) {
      const TaskId task(t);
      if (order_.modes[t] >= problem_.mode_count(task)) {
        fail(fmt::format("task {} has mode {}, but there are {}", name(task), order_.modes[t],
                         problem_.mode_count(task)));
      }
      const Mode mode = problem_.mode(task, order_.modes[t]);
      const Duration duration = other_durations_.empty() ? mode.duration : other_durations_[t];
      if (duration < Duration() || duration.value() > kMaxInputValue) {
        fail(fmt::format("task {} has a duration of {} ns, expected 0 to {}", name(task), duration.value(),
                         kMaxInputValue));
      }
      result_.devices.push_back(mode.devices);
      result_.durations.push_back(duration);
    }
  }

  /// Finds for each task the blocks that list it, and ties them together.
  void tie_blocks() {
    std::vector<std::uint32_t> listed(problem_.task_count(), 0);
    std::vector<std::uint32_t> last_device(problem_.task_count(), kNone);
    block_of_.assign(problem_.task_count(), kNone);
    offset_of_.resize(problem_.task_count());
    for (std::size_t d = 0; d < order_.devices.size(); ++d) {
      for (const Block& block : order_.devices[d]) {
        const auto index = static_cast<std::uint32_t>(parent_.size());
        parent_.push_back(index);
        check_block(block, d);
        for (std::size_t i = 0; i < block.tasks.size(); ++i) {
          const TaskId task = block.tasks[i];
          const std::size_t t = task.index();
          if (!std::binary_search(result_.devices[t].begin(), result_.devices[t].end(), DeviceId(d))) {
            fail(fmt::format("device {} lists task {}, whose mode does not run there", name(d), name(task)));
          }
          if (last_device[t] == d) fail(fmt::format("device {} lists task {} twice", name(d), name(task)));
          last_device[t] = static_cast<std::uint32_t>(d);
          ++listed[t];
          if (block_of_[t] == kNone) {
            block_of_[t] = index;
            offset_of_[t] = block.offsets[i];
          } else if (offset_of_[t] != block.offsets[i]) {
            fail(fmt::format("task {} starts {} ns into its block on device {}, but {} ns on another", name(task),
                             block.offsets[i].value(), name(d), offset_of_[t].value()));
          } else {
            tie(block_of_[t], index);
          }
        }
      }
    }
    for (std::size_t t = 0; t < listed.size(); ++t) {
      if (listed[t] == result_.devices[t].size()) continue;
      fail(fmt::format("task {} is listed on {} of its {} devices", name(TaskId(t)), listed[t],
                       result_.devices[t].size()));
    }
  }

  void check_block(const Block& block, std::size_t device) const {
    if (block.tasks.empty()) fail(fmt::format("device {} has a block without tasks", name(device)));
    for (const TaskId task : block.tasks) {
      if (task.index() >= problem_.task_count()) {
        fail(fmt::format("device {} lists task {}, but there are {}", name(device), task.index(),
                         problem_.task_count()));
      }
    }
    const auto first = [&] {
      return fmt::format("the block of task {} on device {}", name(block.tasks.front()), name(device));
    };
    if (block.offsets.size() != block.tasks.size()) {
      fail(fmt::format("{} has {} offsets for {} tasks", first(), block.offsets.size(), block.tasks.size()));
    }
    // With 2^60 ns no sum of a time, an offset and a duration leaves 64 bits.
    constexpr Duration kLongest(std::int64_t{1} << 60);
    if (block.duration < Duration() || block.duration > kLongest) {
      fail(fmt::format("{} lasts {} ns, expected 0 to 2^60", first(), block.duration.value()));
    }
    for (std::size_t i = 0; i < block.tasks.size(); ++i) {
      const Duration offset = block.offsets[i];
      if (offset < Duration() || offset > block.duration) {
        fail(fmt::format("{} starts task {} at {} ns, expected 0 to {}, its duration", first(), name(block.tasks[i]),
                         offset.value(), block.duration.value()));
      }
      const Duration end = offset + result_.durations[block.tasks[i].index()];
      if (!block.fixed_duration && !repack_ && end > block.duration) {
        fail(fmt::format("{} lasts {} ns, but its task {} ends at {} ns", first(), block.duration.value(),
                         name(block.tasks[i]), end.value()));
      }
    }
  }

  std::uint32_t find(std::uint32_t block) {
    while (parent_[block] != block) block = parent_[block] = parent_[parent_[block]];
    return block;
  }
  void tie(std::uint32_t a, std::uint32_t b) {
    a = find(a);
    b = find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

  /// Runs in the order in which their first blocks are listed.
  void number_runs() {
    run_of_block_.resize(parent_.size());
    std::uint32_t index = 0;
    for (const std::vector<Block>& blocks : order_.devices) {
      for (const Block& block : blocks) {
        const std::uint32_t root = find(index);
        if (root == index) {
          run_of_block_[index] = static_cast<std::uint32_t>(result_.runs.size());
          result_.runs.emplace_back();
        } else {
          run_of_block_[index] = run_of_block_[root];
        }
        JointRun& run = result_.runs[run_of_block_[index]];
        run.duration = std::max(run.duration, block.duration);
        run.fixed_duration |= block.fixed_duration;
        ++index;
      }
    }
  }

  void place_members() {
    result_.run_of.resize(problem_.task_count());
    result_.members.resize(problem_.task_count());
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      result_.run_of[t] = run_of_block_[block_of_[t]];
      ++result_.runs[result_.run_of[t]].member_count;
    }
    std::uint32_t first = 0;
    for (JointRun& run : result_.runs) {
      run.first_member = first;
      first += run.member_count;
      run.member_count = 0;
    }
    for (std::size_t t = 0; t < problem_.task_count(); ++t) {
      JointRun& run = result_.runs[result_.run_of[t]];
      result_.members[run.first_member + run.member_count++] = {TaskId(t), offset_of_[t]};
    }
    for (const JointRun& run : result_.runs) {
      if (run.member_count < 2) continue;
      const auto begin = result_.members.begin() + run.first_member;
      std::sort(begin, begin + run.member_count, [](const Member& a, const Member& b) {
        return std::tie(a.offset, a.task) < std::tie(b.offset, b.task);
      });
    }
  }

  void fill_queues() {
    const std::size_t stream_count = problem_.cluster().stream_names().size();
    struct Place {
      std::uint32_t run;
      std::uint32_t queue;
    };
    std::vector<Place> places;  // device after device, in order
    std::vector<std::uint32_t> last_device(result_.runs.size(), kNone);
    result_.queue_first.assign(order_.devices.size() * stream_count + 1, 0);
    std::size_t index = 0;
    for (std::size_t d = 0; d < order_.devices.size(); ++d) {
      for (const Block& block : order_.devices[d]) {
        const std::uint32_t run = run_of_block_[index++];
        if (last_device[run] == d) {
          fail(
              fmt::format("two blocks of device {}, one of them with task {}, must start together because of tasks "
                          "that run on several devices",
                          name(d), name(block.tasks.front())));
        }
        last_device[run] = static_cast<std::uint32_t>(d);
        std::uint32_t mask = 0;
        for (const TaskId task : block.tasks) mask |= problem_.streams(task);
        for (; mask != 0; mask &= mask - 1) {
          const auto queue =
              static_cast<std::uint32_t>(d * stream_count + static_cast<std::size_t>(__builtin_ctz(mask)));
          places.push_back({run, queue});
          ++result_.queue_first[queue + 1];
          ++result_.runs[run].slot_count;
        }
      }
    }
    for (std::size_t q = 1; q < result_.queue_first.size(); ++q) result_.queue_first[q] += result_.queue_first[q - 1];
    std::uint32_t first = 0;
    for (JointRun& run : result_.runs) {
      run.first_slot = first;
      first += run.slot_count;
      run.slot_count = 0;
    }
    result_.queue_runs.resize(places.size());
    result_.slots.resize(places.size());
    std::vector<std::uint32_t> next(result_.queue_first.begin(), result_.queue_first.end() - 1);
    for (const Place& place : places) {
      result_.queue_runs[next[place.queue]++] = place.run;
      JointRun& run = result_.runs[place.run];
      result_.slots[run.first_slot + run.slot_count++] = place.queue;
    }
  }

  void check_members(std::size_t p) const {
    const auto members = result_.members_of(p);
    if (members.size() < 2) return;
    for (const Member& member : members) {
      for (const TaskId before : problem_.predecessors(member.task)) {
        if (result_.run_of[before.index()] != p || offset_of_[before.index()] <= member.offset) continue;
        fail(fmt::format("a block starts task {} before task {}, which it needs", name(member.task), name(before)));
      }
    }
  }

  /// Gives the members of a run the earliest offsets that their durations allow in this order.
  void pack(std::size_t p) {
    JointRun& run = result_.runs[p];
    if (run.fixed_duration) return;
    const auto members = std::span(result_.members).subspan(run.first_member, run.member_count);
    for (Member& member : members) member.offset = Duration();
    const auto end = [&](std::uint32_t i) { return members[i].offset + result_.durations[members[i].task.index()]; };
    if (members.size() > 1) {
      for (const auto& [earlier, later] : edges_within(problem_, result_, p)) {
        members[later].offset = std::max(members[later].offset, end(earlier));
      }
    }
    run.duration = Duration();
    for (std::uint32_t i = 0; i < members.size(); ++i) run.duration = std::max(run.duration, end(i));
  }

  const Problem& problem_;
  const ExecutionOrder& order_;
  const std::vector<Duration>& other_durations_;
  const bool repack_;
  JointRuns result_;
  std::vector<std::uint32_t> parent_;    // union-find over blocks, numbered device after device
  std::vector<std::uint32_t> block_of_;  // by task: the first block that lists it
  std::vector<Duration> offset_of_;      // by task
  std::vector<std::uint32_t> run_of_block_;
};

}  // namespace

bool JointRuns::takes_no_time(std::size_t run, bool as_one) const {
  if (as_one) return runs[run].duration == Duration();
  return std::ranges::all_of(members_of(run),
                             [&](const Member& member) { return durations[member.task.index()] == Duration(); });
}

std::vector<std::uint64_t> JointRuns::conditions(const Problem& problem) const {
  std::vector<std::uint64_t> result(runs.size());
  for (std::size_t run = 0; run < runs.size(); ++run) {
    std::uint64_t count = runs[run].slot_count;
    for (const Member& member : members_of(run)) {
      for (const TaskId before : problem.control_predecessors(member.task))
        count += run_of[before.index()] == run ? 0U : 1U;
      for (const ValueId value : problem.inputs(member.task)) {
        const std::optional<TaskId> producer = problem.producer(value);
        if (!producer) continue;
        for (const DeviceId device : devices[member.task.index()]) {
          count += run_of[producer->index()] == run && is_on(*producer, device) ? 0U : 1U;
        }
      }
    }
    result[run] = count;
  }
  return result;
}

JointRuns make_joint_runs(const Problem& problem, const ExecutionOrder& order, const std::vector<Duration>& durations,
                          bool slowed) {
  return JointRunBuilder(problem, order, durations, slowed).build();
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_within(const Problem& problem, const JointRuns& runs,
                                                                  std::size_t run) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;
  const auto members = runs.members_of(run);
  std::map<TaskId, std::uint32_t> position;
  std::map<std::pair<DeviceId, int>, std::uint32_t> last_on_stream;
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    const TaskId task = members[i].task;
    position[task] = i;
    for (const TaskId before : problem.predecessors(task)) {
      if (runs.run_of[before.index()] == run) edges.emplace_back(position.at(before), i);
    }
    for (const DeviceId device : runs.devices[task.index()]) {
      for (std::uint32_t mask = problem.streams(task); mask != 0; mask &= mask - 1) {
        const auto [entry, is_first] = last_on_stream.try_emplace({device, __builtin_ctz(mask)}, i);
        if (is_first) continue;
        edges.emplace_back(entry->second, i);
        entry->second = i;
      }
    }
  }
  std::sort(edges.begin(), edges.end(),
            [](const auto& a, const auto& b) { return std::pair(a.second, a.first) < std::pair(b.second, b.first); });
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

}  // namespace opweave::simulation
