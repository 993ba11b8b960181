#include "check/layout_holders.h"
#include "opweave/check_layouts.h"

namespace opweave {

std::vector<Violation> check(const LayoutGraph& graph, const Cluster& cluster, const LayoutPlan& plan,
                             std::size_t limit) {
  checking::ViolationList violations(limit);
  const checking::LayoutFacts facts(graph, cluster, plan, violations);
  if (facts.usable()) {
    checking::check_layout_presence_of_parts(facts, violations);
    checking::check_layout_order(facts, violations);
    const checking::LayoutHolders holders(facts);
    checking::check_layout_streams(facts, holders, violations);
    const std::vector<checking::Wide> host_peaks = checking::check_layout_returns(facts, violations);
    checking::check_layout_figures(facts, holders, host_peaks, violations);
  }
  return violations.take();
}

}  // namespace opweave
