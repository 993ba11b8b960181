#include "check/layout_holders.h"

#include <algorithm>
#include <tuple>

namespace opweave::checking {

LayoutHolders::LayoutHolders(const LayoutFacts& facts)
    : facts_(facts), movement_streams_{facts.options().movement_stream} {
  static const std::vector<std::string> kOut = {std::string(kCopyOutStream)};
  static const std::vector<std::string> kIn = {std::string(kCopyInStream)};
  const LayoutPlan& plan = facts.plan();
  all_.reserve(plan.plan.tasks.size() + plan.movements.size() + plan.returns.size());
  for (const PlannedTask& task : plan.plan.tasks) {
    // Mostly as those of the task before: one list for all of them is in the cache when it is read.
    const std::vector<std::string>* streams = &facts.graph().at(task.op).streams;
    if (!all_.empty() && *all_.back().streams == *streams) streams = all_.back().streams;
    all_.push_back({streams, &task.devices, task.start, task.end, &task});
  }
  for (const LayoutMovement& movement : plan.movements) {
    all_.push_back({&movement_streams_, &movement.devices, movement.start, movement.end, &movement});
  }
  for (const FormReturn& back : plan.returns) {
    const bool is_again = back.kind == MovementKind::kRecompute;
    const bool is_known = is_again ? back.op.index() < facts.graph().operators().size() : !!facts.form_of(back.value);
    if (!is_known) continue;
    const std::vector<std::string>& copy_stream = back.kind == MovementKind::kCopyOut ? kOut : kIn;
    all_.push_back({is_again ? &facts.graph().at(back.op).streams : &copy_stream, &back.devices, back.start, back.end,
                    &back, !is_again});
  }
  by_start_.reserve(all_.size());
  for (const Holder& holder : all_) by_start_.push_back(&holder);
  std::ranges::sort(by_start_, [](const Holder* a, const Holder* b) {
    return std::tie(a->start, a->end, a) < std::tie(b->start, b->end, b);
  });
}

std::string LayoutHolders::name(const Holder& holder) const {
  if (const auto* task = std::get_if<const PlannedTask*>(&holder.what)) {
    return "task " + facts_.name((*task)->op, (*task)->copy);
  }
  if (const auto* movement = std::get_if<const LayoutMovement*>(&holder.what)) {
    return facts_.name((*movement)->key) + ((*movement)->again ? " again" : "");
  }
  return facts_.name(*std::get<const FormReturn*>(holder.what));
}

}  // namespace opweave::checking
