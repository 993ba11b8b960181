/// The set of vertices that is worth most among those that a device can do in time.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "opweave/budget.h"
#include "partition/cut_model.h"

namespace opweave::partition {

/// Finds, for prices per vertex, the sets S of greatest price with load(S) < limit on a device of one kind: a knapsack
/// with a cut function, solved by dynamic programming along an order of the vertices in which few nets are open at a
/// time. A state says of each open net whether its pins so far are all in the set, all out, or mixed; per state the
/// sets that no other beats in load and price are kept (docs/partition.md).
class BestSet {
 public:
  /// Nets that would make more than `kMostOpen` open at once are left out, cheapest first: that is a relaxation.
  static constexpr std::size_t kMostOpen = 30;

  BestSet(const CutModel& model, std::size_t kind, double limit);

  struct Found {
    std::vector<Vertex> vertices;
    double price;
  };
  struct Answer {
    double most = 0;           ///< no set below the limit has a greater price
    std::vector<Found> found;  ///< some sets above the threshold, the most expensive first
  };
  /// Prices may be negative. `most` is at least `threshold`. Nothing if the budget ended. Thins out states of more than
  /// `most_labels` in all, which may overstate `most`.
  [[nodiscard]] std::optional<Answer> find(const std::vector<double>& price, double threshold, const Budget& budget,
                                           std::size_t most_labels = 100'000);

  /// Labels made so far.
  [[nodiscard]] std::uint64_t work() const { return work_; }

 private:
  struct Label {
    std::uint64_t state;  ///< two bits per open net
    double load;
    double price;
    std::uint32_t last;  ///< into chosen_: the last vertex of the set
  };
  struct Chosen {
    Vertex vertex;
    std::uint32_t previous;
  };
  /// What happens to the open nets where a vertex is decided.
  struct Visit {
    std::uint32_t slot;
    double cost;
    bool closes;
  };

  void choose_order();
  void lay_out_slots();
  void rank(const std::vector<double>& price);
  /// Most that the vertices from a position on can add within what is left of the limit.
  [[nodiscard]] double most_after(std::size_t position, double left) const;
  void step(std::size_t position, double price, std::vector<Label>& labels, std::vector<Label>& next);
  static void thin_out(std::vector<Label>& labels, std::size_t most);

  const CutModel& model_;
  const DeviceKind& kind_;
  const double limit_;
  std::vector<std::vector<std::uint32_t>> nets_of_;
  std::vector<Vertex> order_;
  std::vector<std::vector<Visit>> visits_;  ///< by position
  std::vector<Chosen> chosen_;
  /// By position: vertices of positive price from there on, by price per work, as running sums.
  struct Ranked {
    double work;
    double price;
  };
  std::vector<std::vector<Ranked>> ranked_;
  double floor_ = 0;  ///< labels that cannot exceed this price are dropped
  std::uint64_t work_ = 0;
};

}  // namespace opweave::partition
