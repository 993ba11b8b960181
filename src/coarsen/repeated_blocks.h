/// Equal blocks in a chain - the layers of a model - and the problem with a few of them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "opweave/problem.h"
#include "opweave/schedule.h"

namespace opweave::coarsen {

/// A problem in which most of the equal blocks of another one are left out, and the way to give every block the
/// placement of one that is left (docs/coarsening.md). A guess: nothing is proven by it, in either direction.
class RepeatedBlocks {
 public:
  /// Nothing if there are no blocks to leave out. O(tasks x modes + edges + levels x longest period).
  /// \pre can_merge(problem)
  [[nodiscard]] static std::optional<RepeatedBlocks> find(const Problem& problem);

  /// The problem with few blocks.
  [[nodiscard]] const Problem& problem() const { return *few_; }
  /// Blocks of the whole problem.
  [[nodiscard]] std::size_t block_count() const { return blocks_; }
  /// Where devices are all alike, blocks that are left out need not lie on the same devices as the one they are like:
  /// if that one hands over on another device than it was handed over to, each block lies with devices exchanged so
  /// that it finds what it reads where the one that it is like finds it. Modes of all tasks of the whole problem, after
  /// those of a schedule of the one with few blocks; nothing where a task has no such mode. O(tasks)
  [[nodiscard]] std::optional<std::vector<ModeIndex>> expand(const Problem& whole, const Schedule& few) const;

 private:
  RepeatedBlocks() = default;
  /// By device: where a block lies what the block before has there.
  [[nodiscard]] std::vector<DeviceId> exchange(const Schedule& few) const;

  std::optional<Problem> few_;
  std::size_t blocks_ = 0;
  std::vector<OperatorId> like_;      ///< by task of the whole problem: operator of the one with few blocks
  std::vector<std::uint32_t> turns_;  ///< by task: blocks left out between it and the first blocks, at most all of them
  /// A value that the last of the first blocks reads, and the same place one block further.
  struct Handover {
    OperatorId from;
    OperatorId to;
    Bytes bytes;
  };
  std::vector<Handover> handovers_;  ///< operators of the problem with few blocks
};

}  // namespace opweave::coarsen
