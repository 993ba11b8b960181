/// How long a training step takes with a placement, quickly.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "placement_search/step_blocks.h"

namespace opweave {

/// How microbatches are let in, and what goes first (in_flight_window.h; a rule of kLimitRules).
struct StepWay {
  std::uint32_t width = 1;
  std::size_t progress = 0;  ///< index into kLimitProgress
  std::size_t rule = 0;
  bool operator==(const StepWay&) const = default;
};

/// Dispatches microbatches in order, block by block, each device taking the most urgent block that is ready, under the
/// limit and the memory of the devices. An estimate of a list schedule: transfers meet no others, the activations of
/// blocks that run together are there from the start of the first, and W of a layer follow as they come. Some hundred
/// times faster than one.
class StepDispatch {
 public:
  /// \param most  microbatches of the model that are dispatched
  /// \param all   microbatches that count: what the others take is extrapolated
  StepDispatch(const StepModel& model, std::uint32_t most, std::uint32_t all);

  /// Time of the whole step; nothing if it is above `limit`, parameters do not fit or the microbatches get stuck for
  /// memory.
  std::optional<std::int64_t> length(const std::vector<std::size_t>& home, const StepWay& way, std::int64_t limit);
  [[nodiscard]] const StepModel& model() const { return model_; }
  /// Microbatches of a replica that are dispatched.
  [[nodiscard]] std::uint32_t copies(std::size_t replica) const { return copies_[replica]; }
  /// When a step of one of them starts in the dispatch before. \pre it had a length
  [[nodiscard]] std::int64_t start(std::size_t replica, std::uint32_t step, std::uint32_t copy) const {
    return starts_[blocks_.of(replica, step) * most_copies_ + copy] + blocks_.offset(replica, step);
  }

 private:
  struct Event {
    std::int64_t time;
    std::uint32_t block;
    std::uint32_t copy;
    bool is_end;  ///< of the block; else one of those that it waits for has arrived
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : std::pair(block, copy) > std::pair(other.block, other.copy);
    }
  };

  void prepare(const StepWay& way);
  void reserve();
  void find_tails();
  [[nodiscard]] std::int64_t run(std::int64_t limit);
  void finish(std::uint32_t block, std::uint32_t copy);
  void arrive(std::uint32_t block, std::uint32_t copy);
  /// Starts what the device can; false if it can no longer end within the limit.
  bool serve(std::uint32_t device, std::int64_t limit);
  [[nodiscard]] bool is_free(std::uint32_t block) const;
  [[nodiscard]] bool admits(std::uint32_t block) const;
  [[nodiscard]] std::int64_t urgency(std::uint32_t block) const;
  void start(std::uint32_t block);
  void mark(std::uint32_t device);
  [[nodiscard]] std::size_t ticket(std::uint32_t replica, std::uint32_t copy) const {
    return copy * model_.replicas().size() + replica;
  }
  [[nodiscard]] std::int64_t steady_distance() const;

  const StepModel& model_;
  StepBlocks blocks_;
  std::vector<std::uint32_t> copies_;  ///< microbatches by replica
  std::size_t most_copies_ = 0;
  std::uint32_t dispatched_ = 0;  ///< microbatches of all replicas
  std::uint32_t all_;
  std::uint64_t left_ = 0;
  StepWay way_;
  std::int64_t now_ = 0;
  std::vector<Event> events_;                                               ///< heap
  std::vector<std::vector<std::pair<std::uint32_t, std::int64_t>>> after_;  ///< by block: who waits, and the delay
  std::vector<std::vector<std::uint32_t>> let_in_;                          ///< by gate block: sources of its replica
  std::vector<std::uint32_t> next_;                                         ///< by block: microbatch to start
  std::vector<std::int64_t> starts_;                                        ///< by block and microbatch
  std::vector<std::uint32_t> waiting_;                                      ///< by block and microbatch
  std::vector<std::vector<std::uint32_t>> ready_;                           ///< by device: blocks whose next may start
  std::vector<std::uint32_t> busy_;                                         ///< by device: streams
  std::vector<std::int64_t> work_left_;                                     ///< by device and stream
  std::vector<std::int64_t> tails_;  ///< by device and stream: what must follow the last work there
  std::vector<std::int64_t> rest_;   ///< by block: what must follow it
  std::vector<bool> is_marked_;
  std::vector<std::uint32_t> marked_;
  // Memory, by device.
  std::vector<std::int64_t> free_;
  std::vector<std::int64_t> needs_;              ///< and replica: one microbatch alone
  std::vector<std::int64_t> held_;               ///< and ticket
  std::vector<std::uint32_t> unfinished_;        ///< and ticket: blocks
  std::vector<std::size_t> oldest_;              ///< ticket that is not done
  std::vector<std::vector<std::int64_t>> ends_;  ///< of the last gate, by replica and microbatch
  std::vector<std::uint32_t> last_gate_;         ///< block, by replica
};

}  // namespace opweave
