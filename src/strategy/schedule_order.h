/// When the passes of a pipeline run under a published schedule whose order follows from counting alone, whatever its
/// stages take (docs/strategies.md, "Time of a step").
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/strategy.h"

namespace opweave::strategy {

/// Seconds of one microbatch in one chunk of a device.
struct PassSeconds {
  double forward = 0;
  double backward = 0;  ///< gradients of inputs alone where the schedule sets weight gradients apart
  double weight = 0;    ///< 0 where it does not
};

/// All that an order depends on.
struct OrderSize {
  PipelineKind schedule = PipelineKind::k1F1B;
  std::uint32_t devices = 1;
  std::uint32_t chunks = 1;
  std::uint32_t microbatches = 1;
  auto operator<=>(const OrderSize&) const = default;
};

/// 1F1B, its interleaved form and ZB1P; the others decide by what their stages take.
[[nodiscard]] bool has_counted_order(PipelineKind schedule);

/// Forward passes of a device in their order: rounds of as many microbatches as there are devices - or, where these do
/// not divide the microbatches, of sizes that differ by at most one - through one chunk after the other (Narayanan et
/// al. arXiv 2104.04473; PyTorch's rounds). Backward passes come in the same rounds, the last chunk first.
class ForwardPasses {
 public:
  explicit ForwardPasses(const OrderSize& size);
  [[nodiscard]] std::uint32_t chunk() const { return chunk_; }
  [[nodiscard]] std::uint32_t microbatch() const { return begin_ + within_; }
  [[nodiscard]] std::uint32_t first_round() const;
  void next();

 private:
  [[nodiscard]] std::uint32_t round_size() const { return least_ + (round_ < larger_ ? 1 : 0); }

  std::uint32_t chunks_;
  std::uint32_t least_;   ///< microbatches of a round
  std::uint32_t larger_;  ///< rounds with one more
  std::uint32_t round_ = 0;
  std::uint32_t begin_ = 0;
  std::uint32_t chunk_ = 0;
  std::uint32_t within_ = 0;
};

/// Forward passes that a device runs before its first backward pass.
[[nodiscard]] std::uint64_t passes_ahead(const OrderSize& size, std::uint32_t device);

/// A way through a schedule, each pass on it after the one before: how often it takes forward, backward and weight
/// gradient of each chunk (device x chunks + chunk). Whatever these take, the schedule takes no less than their sum -
/// nor less than a mean of such sums, so numbers may be fractions.
using PathCounts = std::vector<std::array<double, 3>>;
[[nodiscard]] double seconds_along(const PathCounts& path, const std::vector<PassSeconds>& passes);

/// The passes of a schedule, each as soon as its device and its input are there; messages take no time.
class ScheduleOrder {
 public:
  /// \pre has_counted_order(size.schedule)
  explicit ScheduleOrder(const OrderSize& size);
  /// Seconds until the last pass has ended. O(passes). `passes` by device x chunks + chunk.
  double seconds(const std::vector<PassSeconds>& passes);
  /// A longest way through the schedule as it was valued last.
  [[nodiscard]] PathCounts critical_path();

 private:
  enum class Pass : std::uint8_t { kForward, kBackward, kWeight };
  /// A place in a device's order: in slot k it runs forward pass k, and the backward passes that are due.
  struct Step {
    std::uint64_t slot = 0;
    Pass pass = Pass::kForward;
  };
  /// One pass. Passes of a kind are numbered in their order on the device.
  struct Item {
    std::uint32_t device = 0;
    Pass pass = Pass::kForward;
    std::uint64_t number = 0;
  };
  struct Progress {
    std::array<std::uint64_t, 3> done{};  ///< passes, by kind
    double end = 0;                       ///< of the last one
  };

  /// The pass of a step, if there is one in it.
  [[nodiscard]] std::optional<Item> item_at(std::uint32_t device, const Step& step) const;
  [[nodiscard]] Step step_of(const Item& item) const;
  /// The pass whose result this one needs, on whatever device.
  [[nodiscard]] std::optional<Item> input_of(const Item& item) const;
  /// The pass before this one on its device.
  [[nodiscard]] std::optional<Item> before(const Item& item) const;
  [[nodiscard]] std::uint32_t chunk_of(const Item& item) const;
  double& end_of(const Item& item) { return ends_[index_of(item)]; }
  [[nodiscard]] std::size_t index_of(const Item& item) const;
  /// Runs what a device can run; false if that is nothing.
  bool advance(std::uint32_t device, const std::vector<PassSeconds>& passes);

  OrderSize size_;
  std::uint64_t total_ = 0;                     ///< forward passes of a device
  std::vector<std::uint32_t> chunk_;            ///< of each of them; backward passes count from the last chunk
  std::vector<std::uint64_t> in_chunk_before_;  ///< the same microbatch one chunk earlier; of the first, in the last
  std::vector<std::uint64_t> ahead_;            ///< passes_ahead, by device
  std::vector<std::uint64_t> delay_;            ///< slots from a backward pass to its weight gradients, by device
  std::vector<Progress> progress_;
  std::vector<double> ends_;  ///< by device, kind and number
};

}  // namespace opweave::strategy
