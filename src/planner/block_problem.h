/// The problem whose operators are the pieces of another one's blocks, and the way back.
#pragma once

#include <optional>
#include <vector>

#include "opweave/blocks.h"
#include "opweave/budget.h"
#include "opweave/problem.h"
#include "opweave/schedule.h"
#include "planner/block_memory.h"
#include "planner/piece_order.h"

namespace opweave {

/// A piece is one operator that holds its device from start to end: what it needs is there when it begins, and what it
/// makes leaves when it ends. Every valid schedule of problem() is one of the whole problem, in pieces and with the
/// same makespan (docs/blocks.md).
class BlockProblem {
 public:
  /// \pre  the settings of `whole` ask for blocks
  /// \throws InputError if an operator has no block, a piece has no device that runs all of its operators, the
  ///   operators of a block must be apart, or pieces would wait for each other
  BlockProblem(const Problem& whole, const Budget& budget);

  [[nodiscard]] const Problem& problem() const { return *pieces_as_operators_; }
  /// Every schedule in pieces is one of problem() or of one that is no longer: bounds of problem() hold for all of
  /// them. False where a piece may have a shorter order than the one known, or memory may run out.
  [[nodiscard]] bool is_exact() const { return is_exact_; }
  /// Pieces with the shortest times that their orders can have, and no limit on memory: its bounds hold for every
  /// schedule in pieces.
  [[nodiscard]] Problem relaxed() const;

  /// The schedule of the whole problem that one of problem() stands for. O(tasks + transfers)
  [[nodiscard]] Schedule expand(const Schedule& schedule) const;
  /// The schedule of problem() with the starts of the pieces of a schedule in pieces. May be invalid: where the pieces
  /// of that schedule are shorter, or memory is counted with less care.
  [[nodiscard]] Schedule contract(const Schedule& schedule) const;

 private:
  [[nodiscard]] std::vector<std::vector<TimedPiece>> find_devices(const Budget& budget);
  void find_types();
  [[nodiscard]] std::vector<Operator> make_operators() const;
  void set_places(Operator& op, std::size_t piece) const;
  void require_together() const;
  [[nodiscard]] std::optional<TaskId> task_in(OperatorId op, std::uint32_t replica) const;
  [[nodiscard]] bool memory_suffices() const;
  [[nodiscard]] Problem make_problem(bool relaxed) const;
  [[nodiscard]] Cluster make_cluster(bool relaxed) const;

  Problem whole_;
  Blocks blocks_;
  std::vector<Piece> pieces_;
  std::vector<std::size_t> piece_of_;                              // by operator
  std::vector<PieceOrder> orders_;                                 // all different ones
  std::vector<std::vector<std::optional<std::size_t>>> order_on_;  // of orders_, by piece and device
  std::vector<std::vector<std::vector<DeviceId>>> allowed_;        // by piece and replica, ascending
  std::vector<std::size_t> type_of_device_;
  std::vector<std::vector<std::optional<std::size_t>>> order_of_type_;  // of orders_, by type of device and piece
  std::vector<Operator> operators_;                                     // without durations
  std::vector<Tensor> tensors_;
  std::vector<std::optional<TensorId>> original_;  // by tensor
  std::optional<Problem> pieces_as_operators_;
  bool is_exact_ = false;
};

}  // namespace opweave
