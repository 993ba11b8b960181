#include "check/layout_facts.h"
#include "opweave/check_layouts.h"

namespace opweave {

std::vector<Violation> check(const LayoutGraph& graph, const Cluster& cluster, const LayoutPlan& plan,
                             std::size_t limit) {
  checking::Findings findings(limit);
  const checking::LayoutFacts facts(graph, cluster, plan, findings);
  if (facts.usable()) {
    checking::check_layout_presence_of_parts(facts, findings);
    checking::check_layout_order(facts, findings);
    checking::check_layout_streams(facts, findings);
    checking::check_layout_figures(facts, findings);
  }
  return findings.take();
}

}  // namespace opweave
