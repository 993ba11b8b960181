/// Plans of long iterations: a kernel, repeated (docs/periodic.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "opweave/budget.h"
#include "opweave/planner.h"
#include "opweave/problem.h"
#include "periodic/iteration.h"
#include "planner/construct.h"
#include "planner/incumbent.h"
#include "planner/problem_traits.h"

namespace opweave {

/// Finds kernels in schedules of a short iteration, and improves the ramps around the best of them. What is searched
/// does not grow with the number of microbatches.
class PeriodicPlans {
 public:
  /// The problem repeats enough microbatches for the effort to pay.
  [[nodiscard]] static bool supports(const ProblemTraits& traits);

  PeriodicPlans(const Problem& problem, const PlannerOptions& options, IncumbentStore& incumbent);

  /// Finds kernels and offers the best plan around one, by the clock the first one before that. Returns the schedules
  /// built.
  /// \param on_first  called once, as soon as the incumbent has a plan; false = that is enough
  std::uint64_t construct(const Budget& budget, const std::function<bool()>& on_first);
  /// The incumbent is one of these plans, and no schedule of the short iteration has its microbatches nearer to each
  /// other.
  [[nodiscard]] bool lead() const { return lead_; }
  /// Improves the ramps of the best plans, without a clock also the kernels. Under a work limit the result does not
  /// depend on the number of threads.
  /// \param work  orders to try, if limited
  void improve(const Budget& budget, std::optional<std::uint64_t> work);

 private:
  struct Candidate {
    periodic::Kernel kernel;
    std::string method;
    std::shared_ptr<const periodic::Iteration::Example> example;  ///< the kernel is from; null = from the search
    Duration makespan;
  };
  struct Attempt;

  std::uint64_t find_candidates(const Budget& budget, bool until_first, IncumbentStore& store);
  std::uint64_t place_layers(const Budget& budget, std::optional<std::uint64_t> work, std::uint64_t seed,
                             IncumbentStore& store);
  bool consider(const Schedule& schedule, const std::string& method);
  bool keep(const periodic::Kernel& kernel, const std::string& method,
            std::shared_ptr<const periodic::Iteration::Example> example);
  [[nodiscard]] std::optional<periodic::Kernel> solve_for_least_period(const periodic::Kernel& kernel,
                                                                       const Budget& budget) const;
  std::uint64_t shorten_periods(const Budget& budget, std::uint64_t orders, std::uint64_t seed);
  void improve_ramps(const Budget& budget, std::optional<std::uint64_t> work, std::uint64_t seed);
  void offer(const periodic::Iteration& iteration, const std::string& origin);
  void run(std::vector<Attempt>& attempts, const Budget& budget);

  const Problem& problem_;
  const PlannerOptions& options_;
  IncumbentStore& incumbent_;
  Problem trial_;                          ///< the short iteration
  std::vector<Start> starts_;              ///< schedules of it, best first
  std::vector<Candidate> candidates_;      ///< one per placement, best first
  std::atomic<double> offer_seconds_ = 0;  ///< longest so far
  bool lead_ = false;
};

}  // namespace opweave
