/// Changes of selections: of one choice, or of all choices of a class.
#pragma once

#include <cstdint>
#include <vector>

#include "opweave/layouts.h"

namespace opweave {

/// Choices whose operators are as many and have the same options of the same durations are of one class: equal layers.
class SelectionMoves {
 public:
  explicit SelectionMoves(const LayoutProblem& problem);

  /// All selections that differ from one in a class (all its choices take the alternative of one number, or one option
  /// where they are), then in a single choice.
  [[nodiscard]] std::size_t count() const { return moves_.size(); }
  /// The selection after a move; perhaps the same.
  [[nodiscard]] LayoutSelection after(std::size_t move, LayoutSelection selection) const;

 private:
  struct Move {
    std::uint32_t first;        ///< position in `members_`
    std::uint32_t count;        ///< choices that change
    std::uint32_t alternative;  ///< of the first; its number, or its option
    bool keeps_devices;         ///< others take its option where they are, else its number
  };

  const LayoutProblem& problem_;
  std::vector<std::uint32_t> members_;  // choices, by class
  std::vector<Move> moves_;
};

}  // namespace opweave
