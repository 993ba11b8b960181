/// The operators of a placed microbatch, joined where nothing can come between them.
#pragma once

#include <cstdint>
#include <vector>

#include "placement_search/step_model.h"

namespace opweave {

/// Steps of one phase that follow each other on one device run as a block: the ones behind the first wait for nothing
/// that the first has not waited for. What is held is counted from the start of the block that makes it, or first uses
/// it on another device, to the end of the last that uses it there; and by its maker's device until the other device
/// begins to use it. Memory on gangs is left out.
class StepBlocks {
 public:
  struct Block {
    std::uint32_t replica = 0;
    std::uint32_t last = 0;  ///< step
    Phase phase = Phase::kNone;
    std::uint32_t streams = 0;
    std::uint32_t first_device = 0;  ///< index into devices()
    std::uint32_t device_count = 0;
    std::int64_t duration = 0;
    std::int64_t taken = 0;      ///< bytes held beyond its end
    std::int64_t given = 0;      ///< bytes that are no longer held after its end
    std::int64_t workspace = 0;  ///< while it runs
    std::uint32_t first_before = 0;
    std::uint32_t before_count = 0;
  };
  struct Before {
    std::uint32_t block;
    std::int64_t delay;  ///< from its end until the other may begin
  };

  /// What a device no longer holds when a block of another one starts.
  struct Freed {
    std::uint32_t device;
    std::int64_t bytes;
  };

  explicit StepBlocks(const StepModel& model) : model_(model) {}
  /// Lays the steps out for a placement; each block comes after those that it waits for. False if a value would have to
  /// cross between devices without a route. O(steps + edges).
  bool lay_out(const std::vector<std::size_t>& home);

  [[nodiscard]] const std::vector<Block>& blocks() const { return blocks_; }
  [[nodiscard]] const std::uint32_t* devices(const Block& block) const { return &devices_[block.first_device]; }
  /// Blocks that the block waits for.
  [[nodiscard]] const std::vector<std::vector<Before>>& before() const { return before_; }
  /// What the start of each block frees on other devices.
  [[nodiscard]] const std::vector<std::vector<Freed>>& freed() const { return freed_; }
  /// The block of a step of a replica.
  [[nodiscard]] std::uint32_t of(std::size_t replica, std::uint32_t step) const { return block_of_[replica][step]; }
  /// From the start of its block to that of the step.
  [[nodiscard]] std::int64_t offset(std::size_t replica, std::uint32_t step) const { return offsets_[replica][step]; }

 private:
  bool add_replica(std::uint32_t replica, const std::vector<std::size_t>& home);
  bool joins(std::uint32_t replica, std::uint32_t step, std::size_t device, std::uint32_t block) const;
  [[nodiscard]] std::uint32_t last_sent(std::uint32_t replica, const std::vector<std::size_t>& home,
                                        const StepModel::Held& held) const;
  void hold(std::uint32_t replica, const std::vector<std::size_t>& home);

  const StepModel& model_;
  std::vector<Block> blocks_;
  std::vector<std::vector<Before>> before_;
  std::vector<std::vector<Freed>> freed_;
  std::vector<std::uint32_t> devices_;
  std::vector<std::vector<std::uint32_t>> block_of_;
  std::vector<std::vector<std::int64_t>> offsets_;
};

}  // namespace opweave
