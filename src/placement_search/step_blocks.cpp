#include "placement_search/step_blocks.h"

#include <algorithm>

namespace opweave {

bool StepBlocks::lay_out(const std::vector<std::size_t>& home) {
  blocks_.clear();
  before_.clear();
  freed_.clear();
  devices_.clear();
  block_of_.resize(model_.replicas().size());
  offsets_.resize(model_.replicas().size());
  for (std::uint32_t replica = 0; replica < model_.replicas().size(); ++replica) {
    if (!add_replica(replica, home)) return false;
    freed_.resize(blocks_.size());
    hold(replica, home);
  }
  return true;
}

/// A step joins the block of one before it if whatever else it waits for is in the block, or before the block anyway.
bool StepBlocks::joins(std::uint32_t replica, std::uint32_t step, std::size_t device, std::uint32_t block) const {
  const StepModel::Step& each = model_.replicas()[replica].steps[step];
  const Block& into = blocks_[block];
  if (into.device_count != 1 || devices_[into.first_device] != device) return false;
  if (into.phase != each.phase || into.streams != each.streams) return false;
  return std::ranges::all_of(each.before, [&](const StepModel::Before& before) {
    const std::uint32_t other = block_of_[replica][before.step];
    return other == block || std::ranges::find(before_[block], other, &Before::block) != before_[block].end();
  });
}

bool StepBlocks::add_replica(std::uint32_t replica, const std::vector<std::size_t>& home) {
  const std::vector<StepModel::Step>& steps = model_.replicas()[replica].steps;
  std::vector<std::uint32_t>& block_of = block_of_[replica];
  block_of.assign(steps.size(), StepModel::kNothing);
  offsets_[replica].assign(steps.size(), 0);
  for (std::uint32_t s = 0; s < steps.size(); ++s) {
    const StepModel::Step& step = steps[s];
    const bool stays = home[step.bundle] == StepModel::kStays;
    const std::size_t device = stays ? step.fixed_on.front() : home[step.bundle];
    std::uint32_t block = StepModel::kNothing;
    if (!stays || step.fixed_on.size() == 1) {
      for (const StepModel::Before& before : step.before) {
        const std::uint32_t other = block_of[before.step];
        if (blocks_[other].last == before.step && joins(replica, s, device, other)) block = other;
      }
    }
    if (block == StepModel::kNothing) {
      block = static_cast<std::uint32_t>(blocks_.size());
      const auto first = static_cast<std::uint32_t>(devices_.size());
      if (stays) {
        for (const std::size_t each : step.fixed_on) devices_.push_back(static_cast<std::uint32_t>(each));
      } else {
        devices_.push_back(static_cast<std::uint32_t>(device));
      }
      const auto count = static_cast<std::uint32_t>(devices_.size()) - first;
      blocks_.push_back({replica, s, step.phase, step.streams, first, count});
      before_.emplace_back();
    }
    Block& into = blocks_[block];
    block_of[s] = block;
    into.last = s;
    offsets_[replica][s] = into.duration;
    into.duration += stays ? step.fixed_duration : step.durations[device];
    into.workspace = std::max(into.workspace, step.workspace);
    for (const StepModel::Before& before : step.before) {
      const std::uint32_t other = block_of[before.step];
      if (other == block) continue;
      const std::uint32_t from = devices_[blocks_[other].first_device];
      const std::int64_t delay = from == device ? 0 : model_.transfer_time(before.size, from, device);
      if (delay == StepModel::kNever) return false;
      const auto known = std::ranges::find(before_[block], other, &Before::block);
      if (known == before_[block].end()) {
        before_[block].push_back({other, delay});
      } else {
        known->delay = std::max(known->delay, delay);
      }
    }
  }
  return true;
}

/// The block at whose start the last of the other devices has the value; nothing if all its users are where it is made.
std::uint32_t StepBlocks::last_sent(std::uint32_t replica, const std::vector<std::size_t>& home,
                                    const StepModel::Held& held) const {
  const std::vector<StepModel::Step>& steps = model_.replicas()[replica].steps;
  const auto device_of = [&](std::uint32_t step) { return home[steps[step].bundle]; };
  std::uint32_t last = StepModel::kNothing;
  for (std::size_t i = 0; i < held.users.size(); ++i) {
    const std::size_t device = device_of(held.users[i]);
    if (device == device_of(held.maker)) continue;
    std::uint32_t first = block_of_[replica][held.users[i]];
    bool is_new = true;
    for (std::size_t j = 0; j < held.users.size(); ++j) {
      if (device_of(held.users[j]) != device) continue;
      is_new &= j >= i;
      first = std::min(first, block_of_[replica][held.users[j]]);
    }
    if (is_new && (last == StepModel::kNothing || first > last)) last = first;
  }
  return last;
}

void StepBlocks::hold(std::uint32_t replica, const std::vector<std::size_t>& home) {
  const StepModel::Replica& all = model_.replicas()[replica];
  const auto device_of = [&](std::uint32_t step) { return home[all.steps[step].bundle]; };
  const auto hold_on = [&](std::size_t device, std::uint32_t from, std::uint32_t until, std::int64_t bytes) {
    if (device == StepModel::kStays) return;
    if (from == until) {
      blocks_[from].workspace = std::max(blocks_[from].workspace, bytes);
      return;
    }
    blocks_[from].taken += bytes;
    blocks_[until].given += bytes;
  };
  for (const StepModel::Held& held : all.held) {
    const std::size_t maker = held.maker == StepModel::kNothing ? StepModel::kStays : device_of(held.maker);
    if (held.maker != StepModel::kNothing && maker != StepModel::kStays) {
      const std::uint32_t from = block_of_[replica][held.maker];
      std::uint32_t until = from;
      for (const std::uint32_t user : held.users) {
        if (device_of(user) == maker) until = std::max(until, block_of_[replica][user]);
      }
      const std::uint32_t sent = last_sent(replica, home, held);
      if (sent != StepModel::kNothing && sent > until) {
        blocks_[from].taken += held.bytes;
        freed_[sent].push_back({static_cast<std::uint32_t>(maker), held.bytes});
      } else {
        hold_on(maker, from, until, held.bytes);
      }
    }
    for (std::size_t i = 0; i < held.users.size(); ++i) {
      const std::size_t device = device_of(held.users[i]);
      if (device == maker) continue;
      const auto is_there = [&](std::uint32_t user) { return device_of(user) == device; };
      if (std::any_of(held.users.begin(), held.users.begin() + static_cast<std::ptrdiff_t>(i), is_there)) continue;
      std::uint32_t from = block_of_[replica][held.users[i]];
      std::uint32_t until = from;
      for (const std::uint32_t user : held.users) {
        if (!is_there(user)) continue;
        from = std::min(from, block_of_[replica][user]);
        until = std::max(until, block_of_[replica][user]);
      }
      hold_on(device, from, until, held.bytes);
    }
  }
}

}  // namespace opweave
