/// Work on streams, movements included, that no selection makes less, and selections with little of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layouts/movement_costs.h"
#include "layouts/option_paths.h"
#include "opweave/budget.h"

namespace opweave {

/// Weighted work of all streams: a lower bound for every weight, by a dynamic program over a forest of choices
/// (docs/layouts.md, "Bounds").
class OptionLoads {
 public:
  OptionLoads(MovementCosts& costs, const OptionPaths& paths);

  struct Result {
    std::optional<std::int64_t> bound;        ///< no plan is shorter; nothing where no selection has a plan
    std::vector<LayoutSelection> selections;  ///< of least weighted work, for the weights that were tried
  };
  /// Tries weights until the budget ends, the same ones whatever the clock says.
  [[nodiscard]] Result search(const Budget& budget);

 private:
  __extension__ using Wide = __int128;
  /// Work on a stream of each of a set of devices.
  struct Work {
    std::uint32_t devices = 0;  ///< number of the set
    std::uint32_t stream = 0;
    std::int64_t time = 0;
  };
  using Works = std::vector<Work>;
  /// Movements between two choices, by alternatives of both; a pair that has no plan is not possible.
  struct Pair {
    std::uint32_t parent = 0;  ///< choice
    std::uint32_t child = 0;
    std::vector<Works> works;  ///< by alternative of the parent, then of the child
    std::vector<bool> is_possible;
  };

  void number_streams();
  void add_operators();
  void add_parameters();
  void grow_forest();
  void add_edges();
  void add(Works& works, std::uint32_t devices, std::uint32_t stream, std::int64_t time) const;
  void find_ends();
  template <class Number>
  [[nodiscard]] Number cost_of(const Works& works, const std::vector<Number>& of_set) const;
  /// Least weighted work of all selections, and one that has it; nothing where none is possible.
  template <class Number>
  [[nodiscard]] std::optional<std::pair<Number, LayoutSelection>> least(const std::vector<Number>& weights) const;
  [[nodiscard]] std::vector<double> loads_of(const LayoutSelection& selection) const;
  [[nodiscard]] std::optional<std::int64_t> exact(const std::vector<double>& weights) const;
  [[nodiscard]] std::size_t machine(DeviceId device, std::uint32_t stream) const;

  MovementCosts& costs_;
  const OptionPaths& paths_;
  const LayoutProblem& problem_;
  std::int64_t microbatches_ = 1;
  std::vector<std::string> streams_;
  std::uint32_t movement_stream_ = 0;
  std::vector<std::vector<Works>> own_;             // by choice and alternative
  std::vector<std::vector<bool>> is_possible_;      // by choice and alternative
  std::vector<Pair> pairs_;                         // children before their parents
  std::vector<std::optional<std::uint32_t>> over_;  // by choice: the pair with its parent
  std::vector<std::uint32_t> order_;                // choices, parents first
  std::vector<std::int64_t> ends_;                  // by machine: what passes before and behind all its work
};

}  // namespace opweave
