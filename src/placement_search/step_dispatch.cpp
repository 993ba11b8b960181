#include "placement_search/step_dispatch.h"

#include <algorithm>
#include <functional>

#include "list_scheduling/priority_rules.h"

namespace opweave {
namespace {

constexpr std::int64_t kNever = StepModel::kNever;
/// Bits of an urgency for the microbatch and for the block.
constexpr int kBits = 20;

}  // namespace

StepDispatch::StepDispatch(const StepModel& model, std::uint32_t most, std::uint32_t all)
    : model_(model), blocks_(model), all_(all) {
  const auto replicas = static_cast<std::uint32_t>(model.replicas().size());
  for (const StepModel::Replica& replica : model.replicas()) {
    copies_.push_back(std::min(replica.microbatches, std::max(1U, most / replicas)));
    most_copies_ = std::max<std::size_t>(most_copies_, copies_.back());
    dispatched_ += copies_.back();
  }
  ready_.resize(model.devices());
  ends_.resize(replicas);
}

std::optional<std::int64_t> StepDispatch::length(const std::vector<std::size_t>& home, const StepWay& way,
                                                 std::int64_t limit) {
  if (!model_.room(home, free_) || !blocks_.lay_out(home)) return std::nullopt;
  const std::uint32_t others = all_ - std::min(all_, dispatched_);
  const std::vector<std::int64_t> loads = model_.loads(home);
  const std::int64_t least = std::ranges::max(loads) / model_.microbatches();
  const std::int64_t limit_of_run = limit == kNever ? kNever : limit - least * others;
  prepare(way);
  const std::int64_t end = run(limit_of_run);
  if (end == kNever) return std::nullopt;
  const std::int64_t whole = others == 0 ? end : end + others * std::max(least, steady_distance());
  return whole <= limit ? std::optional(whole) : std::nullopt;
}

void StepDispatch::prepare(const StepWay& way) {
  way_ = way;
  now_ = 0;
  events_.clear();
  const std::vector<StepBlocks::Block>& blocks = blocks_.blocks();
  after_.resize(std::max(after_.size(), blocks.size()));
  let_in_.resize(after_.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    after_[b].clear();
    let_in_[b].clear();
  }
  next_.assign(blocks.size(), 0);
  waiting_.assign(blocks.size() * most_copies_, 0);
  starts_.resize(waiting_.size());
  for (std::vector<std::uint32_t>& ready : ready_) ready.clear();
  busy_.assign(model_.devices(), 0);
  work_left_.assign(model_.devices() * model_.streams(), 0);
  is_marked_.assign(model_.devices(), false);
  marked_.clear();
  last_gate_.clear();
  left_ = 0;
  std::vector<std::uint32_t> gates;
  for (std::size_t r = 0; r < model_.replicas().size(); ++r) {
    gates.push_back(blocks_.of(r, model_.replicas()[r].gates[way.progress]));
    last_gate_.push_back(blocks_.of(r, model_.replicas()[r].gates.back()));
    ends_[r].assign(copies_[r], 0);
  }
  for (std::uint32_t b = 0; b < blocks.size(); ++b) {
    const StepBlocks::Block& block = blocks[b];
    const std::uint32_t copies = copies_[block.replica];
    left_ += copies;
    const auto before = static_cast<std::uint32_t>(blocks_.before()[b].size());
    std::fill_n(waiting_.begin() + static_cast<std::ptrdiff_t>(b * most_copies_), copies, before);
    for (const StepBlocks::Before& each : blocks_.before()[b]) after_[each.block].emplace_back(b, each.delay);
    if (before == 0 && gates[block.replica] != b) {
      let_in_[gates[block.replica]].push_back(b);
      for (std::uint32_t copy = way.width; copy < copies; ++copy) ++waiting_[b * most_copies_ + copy];
    }
    for (std::uint32_t i = 0; i < block.device_count; ++i) {
      const std::uint32_t device = blocks_.devices(block)[i];
      for (std::size_t s = 0; s < model_.streams(); ++s) {
        if ((block.streams >> s & 1U) != 0) work_left_[device * model_.streams() + s] += block.duration * copies;
      }
    }
  }
  reserve();
  find_tails();
  for (std::uint32_t b = 0; b < blocks.size(); ++b) {
    if (waiting_[b * most_copies_] == 0) {
      for (std::uint32_t i = 0; i < blocks[b].device_count; ++i) {
        ready_[blocks_.devices(blocks[b])[i]].push_back(b);
        mark(blocks_.devices(blocks[b])[i]);
      }
    }
  }
}

/// What one microbatch takes on each device when its blocks run one after the other, and who is to have it first.
void StepDispatch::reserve() {
  const std::size_t replicas = model_.replicas().size();
  const std::size_t tickets = most_copies_ * replicas;
  needs_.assign(model_.devices() * replicas, 0);
  held_.assign(model_.devices() * tickets, 0);
  unfinished_.assign(model_.devices() * tickets, 0);
  oldest_.assign(model_.devices(), 0);
  std::vector<std::int64_t> level(model_.devices() * replicas, 0);
  for (std::size_t b = 0; b < blocks_.blocks().size(); ++b) {
    const StepBlocks::Block& block = blocks_.blocks()[b];
    const std::uint32_t device = blocks_.devices(block)[0];
    const std::size_t at = device * replicas + block.replica;
    level[at] += block.taken;
    needs_[at] = std::max(needs_[at], level[at] + block.workspace);
    level[at] -= block.given;
    for (const StepBlocks::Freed& freed : blocks_.freed()[b]) {
      level[freed.device * replicas + block.replica] -= freed.bytes;
    }
    for (std::uint32_t copy = 0; copy < copies_[block.replica]; ++copy) {
      ++unfinished_[device * tickets + ticket(block.replica, copy)];
    }
  }
  for (std::size_t device = 0; device < model_.devices(); ++device) {
    while (oldest_[device] < tickets && unfinished_[device * tickets + oldest_[device]] == 0) ++oldest_[device];
  }
}

void StepDispatch::find_tails() {
  const std::vector<StepBlocks::Block>& blocks = blocks_.blocks();
  rest_.assign(blocks.size(), 0);
  tails_.assign(work_left_.size(), kNever);
  for (std::size_t b = blocks.size(); b-- > 0;) {
    for (const auto& [later, delay] : after_[b]) {
      rest_[b] = std::max(rest_[b], delay + blocks[later].duration + rest_[later]);
    }
    for (std::uint32_t i = 0; i < blocks[b].device_count; ++i) {
      for (std::size_t s = 0; s < model_.streams(); ++s) {
        if ((blocks[b].streams >> s & 1U) == 0) continue;
        std::int64_t& tail = tails_[blocks_.devices(blocks[b])[i] * model_.streams() + s];
        tail = std::min(tail, rest_[b]);
      }
    }
  }
}

void StepDispatch::mark(std::uint32_t device) {
  if (is_marked_[device] || ready_[device].empty()) return;
  is_marked_[device] = true;
  marked_.push_back(device);
}

std::int64_t StepDispatch::run(std::int64_t limit) {
  while (true) {
    for (std::size_t i = 0; i < marked_.size(); ++i) {
      is_marked_[marked_[i]] = false;
      if (!serve(marked_[i], limit)) return kNever;
    }
    marked_.clear();
    if (events_.empty()) break;
    now_ = events_.front().time;
    while (!events_.empty() && events_.front().time == now_) {
      const Event event = events_.front();
      std::ranges::pop_heap(events_, std::greater<>());
      events_.pop_back();
      event.is_end ? finish(event.block, event.copy) : arrive(event.block, event.copy);
    }
  }
  return left_ == 0 ? now_ : kNever;
}

bool StepDispatch::serve(std::uint32_t device, std::int64_t limit) {
  for (std::size_t s = 0; s < model_.streams(); ++s) {
    // A stream that is busy has been looked at when it began.
    const std::size_t at = device * model_.streams() + s;
    if ((busy_[device] >> s & 1U) != 0 || work_left_[at] == 0 || limit == kNever) continue;
    if (now_ + work_left_[at] + tails_[at] > limit) return false;
  }
  while (true) {
    std::uint32_t best = StepModel::kNothing;
    std::int64_t most_urgent = kNever;
    for (const std::uint32_t block : ready_[device]) {
      if (!is_free(block)) continue;
      const std::int64_t urgent = urgency(block);
      if (urgent < most_urgent && admits(block)) {
        most_urgent = urgent;
        best = block;
      }
    }
    if (best == StepModel::kNothing) return true;
    start(best);
  }
}

bool StepDispatch::is_free(std::uint32_t block) const {
  const StepBlocks::Block& each = blocks_.blocks()[block];
  const std::uint32_t* devices = blocks_.devices(each);
  return std::none_of(devices, devices + each.device_count,
                      [&](std::uint32_t device) { return (busy_[device] & each.streams) != 0; });
}

/// The oldest microbatch on a device always finds what it needs there: so all of them end, one after the other at
/// least.
bool StepDispatch::admits(std::uint32_t block) const {
  const StepBlocks::Block& each = blocks_.blocks()[block];
  if (each.taken == 0 && each.workspace == 0) return true;
  const std::uint32_t device = blocks_.devices(each)[0];
  if (each.taken + each.workspace > free_[device]) return false;
  const std::size_t oldest = oldest_[device];
  if (each.taken <= 0 || oldest == ticket(each.replica, next_[block])) return true;
  const std::size_t replicas = model_.replicas().size();
  const std::int64_t reserved =
      needs_[device * replicas + oldest % replicas] - held_[device * most_copies_ * replicas + oldest];
  return each.taken + std::max<std::int64_t>(reserved, 0) <= free_[device];
}

std::int64_t StepDispatch::urgency(std::uint32_t block) const {
  const StepBlocks::Block& each = blocks_.blocks()[block];
  const std::int64_t phase = urgency_class(each.phase);
  const auto at = static_cast<std::int64_t>(ticket(each.replica, next_[block])) << kBits;
  switch (way_.rule) {
    case 0:  // backward first
      return (phase << 2 * kBits) + at + block;
    case 1:  // backward first, deepest forward
      if (phase != 1) return (phase << 2 * kBits) + at + block;
      return (phase << 2 * kBits) + ((std::int64_t{1} << kBits) - 1 - block) * (std::int64_t{1} << kBits) +
             (at >> kBits);
    case 2:  // weight gradients last
      return ((phase == 2 ? std::int64_t{1} : std::int64_t{0}) << 2 * kBits) + at + block;
    default:  // reference order
      return at + block;
  }
}

void StepDispatch::start(std::uint32_t block) {
  const StepBlocks::Block& each = blocks_.blocks()[block];
  const std::uint32_t copy = next_[block]++;
  starts_[block * most_copies_ + copy] = now_;
  const std::uint32_t first = blocks_.devices(each)[0];
  free_[first] -= each.taken + each.workspace;
  held_[first * most_copies_ * model_.replicas().size() + ticket(each.replica, copy)] += each.taken;
  const bool goes_on = next_[block] < copies_[each.replica] && waiting_[block * most_copies_ + next_[block]] == 0;
  for (std::uint32_t i = 0; i < each.device_count; ++i) {
    const std::uint32_t device = blocks_.devices(each)[i];
    busy_[device] |= each.streams;
    for (std::size_t s = 0; s < model_.streams(); ++s) {
      if ((each.streams >> s & 1U) != 0) work_left_[device * model_.streams() + s] -= each.duration;
    }
    if (goes_on) continue;
    std::vector<std::uint32_t>& ready = ready_[device];
    *std::ranges::find(ready, block) = ready.back();
    ready.pop_back();
  }
  for (const StepBlocks::Freed& freed : blocks_.freed()[block]) {
    free_[freed.device] += freed.bytes;
    held_[freed.device * most_copies_ * model_.replicas().size() + ticket(each.replica, copy)] -= freed.bytes;
    mark(freed.device);
  }
  events_.push_back({now_ + each.duration, block, copy, true});
  std::ranges::push_heap(events_, std::greater<>());
}

void StepDispatch::finish(std::uint32_t block, std::uint32_t copy) {
  const StepBlocks::Block& each = blocks_.blocks()[block];
  const std::size_t tickets = most_copies_ * model_.replicas().size();
  const std::uint32_t first = blocks_.devices(each)[0];
  const std::size_t own = first * tickets + ticket(each.replica, copy);
  free_[first] += each.given + each.workspace;
  held_[own] -= each.given;
  --unfinished_[own];
  while (oldest_[first] < tickets && unfinished_[first * tickets + oldest_[first]] == 0) ++oldest_[first];
  for (std::uint32_t i = 0; i < each.device_count; ++i) {
    busy_[blocks_.devices(each)[i]] &= ~each.streams;
    mark(blocks_.devices(each)[i]);
  }
  --left_;
  if (last_gate_[each.replica] == block) ends_[each.replica][copy] = now_;
  for (const auto& [later, delay] : after_[block]) {
    if (delay == 0) {
      arrive(later, copy);
    } else {
      events_.push_back({now_ + delay, later, copy, false});
      std::ranges::push_heap(events_, std::greater<>());
    }
  }
  if (copy + way_.width < copies_[each.replica]) {
    for (const std::uint32_t source : let_in_[block]) arrive(source, copy + way_.width);
  }
}

void StepDispatch::arrive(std::uint32_t block, std::uint32_t copy) {
  if (--waiting_[block * most_copies_ + copy] != 0 || next_[block] != copy) return;
  const StepBlocks::Block& each = blocks_.blocks()[block];
  for (std::uint32_t i = 0; i < each.device_count; ++i) {
    const std::uint32_t device = blocks_.devices(each)[i];
    ready_[device].push_back(block);
    mark(device);
  }
}

/// Between the ends of microbatches in the second half, before which the ramp up is over.
std::int64_t StepDispatch::steady_distance() const {
  std::int64_t distance = 0;
  for (std::size_t r = 0; r < ends_.size(); ++r) {
    const std::uint32_t half = copies_[r] / 2;
    if (half + 1 >= copies_[r]) continue;
    const std::int64_t time = ends_[r].back() - ends_[r][half];
    distance = std::max(distance, time / (copies_[r] - 1 - half) / static_cast<std::int64_t>(ends_.size()));
  }
  return distance;
}

}  // namespace opweave
