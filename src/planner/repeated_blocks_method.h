/// Placement of models with many equal layers: a few are planned, and all are placed like them (docs/coarsening.md).
#pragma once

#include <memory>
#include <optional>

#include "coarsen/repeated_blocks.h"
#include "planner/search_method.h"

namespace opweave {

/// Plans the problem with most of its equal blocks left out, repeats the placement, schedules all anew and offers what
/// comes of it. Takes no time where blocks do not repeat.
class RepeatedBlocksMethod final : public SearchMethod {
 public:
  /// As levels, where the problem is too large to be searched as a whole.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  RepeatedBlocksMethod(SearchContext& context, std::uint64_t seed);
  ~RepeatedBlocksMethod() override;
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  [[nodiscard]] bool is_done() const override { return is_done_; }

 private:
  struct Few;

  SearchContext& context_;
  const std::uint64_t seed_;
  std::optional<coarsen::RepeatedBlocks> blocks_;
  std::unique_ptr<Few> few_;  ///< the search of the problem with few blocks
  bool is_done_ = false;
};

}  // namespace opweave
