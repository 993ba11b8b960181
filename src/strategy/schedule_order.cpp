#include "strategy/schedule_order.h"

#include <algorithm>

namespace opweave::strategy {
namespace {

constexpr std::size_t kKinds = 3;

bool splits_backward(const OrderSize& size) { return size.schedule == PipelineKind::kZeroBubble1; }

double seconds_of_kind(const PassSeconds& passes, std::size_t kind) {
  return kind == 0 ? passes.forward : kind == 1 ? passes.backward : passes.weight;
}

}  // namespace

bool has_counted_order(PipelineKind schedule) {
  return schedule == PipelineKind::k1F1B || schedule == PipelineKind::kInterleaved ||
         schedule == PipelineKind::kZeroBubble1;
}

ForwardPasses::ForwardPasses(const OrderSize& size) : chunks_(size.chunks) {
  const std::uint32_t rounds = std::max(1U, size.microbatches / size.devices);
  least_ = size.microbatches / rounds;
  larger_ = size.microbatches % rounds;
}

std::uint32_t ForwardPasses::first_round() const { return least_ + (larger_ > 0 ? 1 : 0); }

void ForwardPasses::next() {
  if (++within_ < round_size()) return;
  within_ = 0;
  if (++chunk_ < chunks_) return;
  chunk_ = 0;
  begin_ += round_size();
  ++round_;
}

std::uint64_t passes_ahead(const OrderSize& size, std::uint32_t device) {
  const std::uint64_t per_device = size.schedule == PipelineKind::kInterleaved ? 2 : 1;
  const std::uint64_t rounds = std::uint64_t{size.chunks - 1} * ForwardPasses(size).first_round();
  return std::min(std::uint64_t{size.chunks} * size.microbatches, rounds + per_device * (size.devices - 1 - device));
}

double seconds_along(const PathCounts& path, const std::vector<PassSeconds>& passes) {
  double sum = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) sum += path[i][kind] * seconds_of_kind(passes[i], kind);
  }
  return sum;
}

ScheduleOrder::ScheduleOrder(const OrderSize& size)
    : size_(size), total_(std::uint64_t{size.chunks} * size.microbatches) {
  ForwardPasses passes(size);
  std::vector<std::uint64_t> last(size.microbatches);  // pass of each microbatch in the last chunk so far
  in_chunk_before_.resize(total_);
  for (std::uint64_t number = 0; number < total_; ++number, passes.next()) {
    chunk_.push_back(passes.chunk());
    if (passes.chunk() > 0) in_chunk_before_[number] = last[passes.microbatch()];
    last[passes.microbatch()] = number;
  }
  ForwardPasses again(size);
  for (std::uint64_t number = 0; number < total_; ++number, again.next()) {
    if (again.chunk() == 0) in_chunk_before_[number] = last[again.microbatch()];
  }
  for (std::uint32_t device = 0; device < size.devices; ++device) {
    ahead_.push_back(passes_ahead(size, device));
    delay_.push_back(splits_backward(size) ? device : 0);
  }
  ends_.resize(std::size_t{size.devices} * kKinds * total_);
}

std::size_t ScheduleOrder::index_of(const Item& item) const {
  return (item.device * kKinds + static_cast<std::size_t>(item.pass)) * total_ + item.number;
}

std::optional<ScheduleOrder::Item> ScheduleOrder::item_at(std::uint32_t device, const Step& step) const {
  std::uint64_t first = 0;
  if (step.pass != Pass::kForward) first = ahead_[device];
  if (step.pass == Pass::kWeight) first += delay_[device];
  if (step.slot < first || step.slot - first >= total_) return std::nullopt;
  if (step.pass == Pass::kWeight && !splits_backward(size_)) return std::nullopt;
  return Item{device, step.pass, step.slot - first};
}

ScheduleOrder::Step ScheduleOrder::step_of(const Item& item) const {
  std::uint64_t slot = item.number;
  if (item.pass != Pass::kForward) slot += ahead_[item.device];
  if (item.pass == Pass::kWeight) slot += delay_[item.device];
  return {slot, item.pass};
}

std::optional<ScheduleOrder::Item> ScheduleOrder::input_of(const Item& item) const {
  const bool is_first_chunk = chunk_[item.number] == 0;
  switch (item.pass) {
    case Pass::kForward:
      if (item.device > 0) return Item{item.device - 1, Pass::kForward, item.number};
      if (is_first_chunk) return std::nullopt;
      return Item{size_.devices - 1, Pass::kForward, in_chunk_before_[item.number]};
    case Pass::kBackward:
      if (item.device + 1 < size_.devices) return Item{item.device + 1, Pass::kBackward, item.number};
      // In the first of its chunks, which is the last one, a backward pass follows its own forward pass.
      if (is_first_chunk) return Item{item.device, Pass::kForward, in_chunk_before_[item.number]};
      return Item{0, Pass::kBackward, in_chunk_before_[item.number]};
    case Pass::kWeight:
      break;
  }
  return std::nullopt;
}

std::optional<ScheduleOrder::Item> ScheduleOrder::before(const Item& item) const {
  for (Step step = step_of(item); step.slot > 0 || step.pass != Pass::kForward;) {
    if (step.pass == Pass::kForward) {
      step = {step.slot - 1, Pass::kWeight};
    } else {
      step.pass = step.pass == Pass::kWeight ? Pass::kBackward : Pass::kForward;
    }
    if (const auto found = item_at(item.device, step)) return found;
  }
  return std::nullopt;
}

std::uint32_t ScheduleOrder::chunk_of(const Item& item) const {
  const std::uint32_t chunk = chunk_[item.number];
  return item.pass == Pass::kForward ? chunk : size_.chunks - 1 - chunk;
}

// Most of the time of a search goes by here, so steps are told apart by counting, without the functions above.
bool ScheduleOrder::advance(std::uint32_t device, const std::vector<PassSeconds>& passes) {
  Progress& mine = progress_[device];
  const PassSeconds* of_chunk = &passes[std::size_t{device} * size_.chunks];
  double* ends = &ends_[device * kKinds * total_];
  const std::uint64_t ahead = ahead_[device];
  const std::uint64_t last_chunk = size_.chunks - 1;
  const bool is_first = device == 0;
  const bool is_last = device + 1 == size_.devices;
  const std::uint64_t before = mine.done[0] + mine.done[1];
  // Where the inputs of a pass come from: the device beside this one, or the other end of the pipeline.
  const auto input = [&](std::uint32_t from, Pass pass, std::uint64_t number) {
    const auto kind = static_cast<std::size_t>(pass);
    if (progress_[from].done[kind] <= number) return false;
    mine.end = std::max(mine.end, ends_[(from * kKinds + kind) * total_ + number]);
    return true;
  };
  const auto run = [&](Pass pass, double duration) {
    const auto kind = static_cast<std::size_t>(pass);
    mine.end += duration;
    ends[kind * total_ + mine.done[kind]++] = mine.end;
  };
  while (mine.done[1] < total_) {
    const std::uint64_t forward = mine.done[0];
    const std::uint64_t backward = mine.done[1];
    // Forward passes run ahead of backward passes by a fixed number; one more begins before each of these.
    if (forward < total_ && forward <= ahead + backward) {
      const std::uint32_t chunk = chunk_[forward];
      if (!is_first && !input(device - 1, Pass::kForward, forward)) break;
      if (is_first && chunk > 0 && !input(size_.devices - 1, Pass::kForward, in_chunk_before_[forward])) break;
      run(Pass::kForward, of_chunk[chunk].forward);
      continue;
    }
    const std::uint32_t chunk = chunk_[backward];
    if (!is_last && !input(device + 1, Pass::kBackward, backward)) break;
    if (is_last &&
        !input(chunk > 0 ? 0 : device, chunk > 0 ? Pass::kBackward : Pass::kForward, in_chunk_before_[backward])) {
      break;
    }
    run(Pass::kBackward, of_chunk[last_chunk - chunk].backward);
    if (!splits_backward(size_)) continue;
    // Weight gradients need nothing of others.
    const bool ends_here = mine.done[1] == total_;
    while (mine.done[2] + delay_[device] < mine.done[1] || (ends_here && mine.done[2] < total_)) {
      run(Pass::kWeight, of_chunk[last_chunk - chunk_[mine.done[2]]].weight);
    }
  }
  return mine.done[0] + mine.done[1] > before;
}

double ScheduleOrder::seconds(const std::vector<PassSeconds>& passes) {
  progress_.assign(size_.devices, {});
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    for (std::uint32_t device = 0; device < size_.devices; ++device) goes_on |= advance(device, passes);
  }
  return std::ranges::max(progress_, {}, &Progress::end).end;
}

PathCounts ScheduleOrder::critical_path() {
  PathCounts path(std::size_t{size_.devices} * size_.chunks);
  const auto last = std::ranges::max_element(progress_, {}, &Progress::end);
  const auto device = static_cast<std::uint32_t>(last - progress_.begin());
  const std::uint64_t slots = total_ + ahead_[device] + delay_[device];
  const Pass kind = splits_backward(size_) ? Pass::kWeight : Pass::kBackward;
  for (std::optional<Item> item = item_at(device, {slots - 1, kind}); item;) {
    ++path[std::size_t{item->device} * size_.chunks + chunk_of(*item)][static_cast<std::size_t>(item->pass)];
    const auto on_device = before(*item);
    const auto input = input_of(*item);
    const bool waits = input && (!on_device || end_of(*input) >= end_of(*on_device));
    item = waits ? input : on_device;
  }
  return path;
}

}  // namespace opweave::strategy
