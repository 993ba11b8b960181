/// Plans of long iterations: a kernel, repeated (docs/periodic.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "opweave/problem.h"
#include "periodic/iteration.h"
#include "planner/search_method.h"

namespace opweave {

/// Finds kernels in schedules of a short iteration, and improves the ramps around the best of them. What is searched
/// does not grow with the number of microbatches.
class PeriodicPlans final : public SearchMethod {
 public:
  /// The problem repeats enough microbatches for the effort to pay.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);
  [[nodiscard]] static double share(const ProblemTraits& traits);

  PeriodicPlans(SearchContext& context, std::uint64_t seed);
  ~PeriodicPlans() override;

  /// By the clock, the plan around the first kernel that there is.
  void find_first(IncumbentStore& incumbent, const Slice& slice) override;
  /// At first finds kernels and offers the best plan around one; afterwards improves the ramps of the best plans, in
  /// repeatable slices also the kernels.
  void advance(IncumbentStore& incumbent, const Slice& slice) override;
  /// The incumbent is one of these plans, and no schedule of the short iteration has its microbatches nearer to each
  /// other: searches of the whole take longer and find less.
  [[nodiscard]] bool goes_on_alone() const override { return leads_; }
  [[nodiscard]] std::uint64_t evaluations() const override { return evaluations_; }

 private:
  struct Candidate {
    periodic::Kernel kernel;
    std::string method;
    std::shared_ptr<const periodic::Iteration::Example> example;  ///< the kernel is from; null = from the search
    bool is_anew = false;                                         ///< owes nothing to the orders of a schedule
    Duration makespan = {};
  };
  struct Attempt;
  class Work;

  const Problem& problem_;
  SearchContext& context_;
  std::uint64_t seed_;
  const Problem trial_;                    ///< the short iteration
  std::vector<Start> starts_;              ///< schedules of it, best first
  bool has_sought_ = false;                ///< kernels, to the end
  std::vector<Candidate> candidates_;      ///< best first
  std::atomic<double> offer_seconds_ = 0;  ///< longest so far
  std::uint64_t evaluations_ = 0;
  bool leads_ = false;
};

}  // namespace opweave
