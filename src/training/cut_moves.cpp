#include "training/cut_moves.h"

#include <algorithm>
#include <tuple>

namespace opweave::detail {
namespace {

/// Moves of single ends in a row when moves begin anew.
constexpr std::uint32_t kShake = 3;

/// Ends begin .. begin + count - 1 by one layer; false if a stage would be empty.
bool move(CutBounds& bounds, std::size_t begin, std::size_t count, bool up) {
  const std::size_t last = begin + count - 1;
  if (up ? bounds[last] + 1 >= bounds[last + 1] : bounds[begin] <= bounds[begin - 1] + 1) return false;
  for (std::size_t end = begin; end <= last; ++end) bounds[end] += up ? 1U : ~0U;
  return true;
}

}  // namespace

void improve_by_moves(CutBounds& bounds, std::int64_t& steps, const std::function<bool(const CutBounds&)>& accept) {
  const std::size_t inner = bounds.size() - 2;  // ends 1 .. inner may move
  // After an accepted move the next one goes on from there; a whole turn without one is the end.
  std::size_t since_accepted = 0;
  const std::size_t turn = inner * (inner + 1);
  while (since_accepted < turn) {
    for (std::size_t count = 1; count <= inner; ++count) {
      for (std::size_t begin = 1; begin + count <= inner + 1; ++begin) {
        for (const bool up : {true, false}) {
          if (since_accepted++ >= turn) return;
          if (!move(bounds, begin, count, up)) continue;
          steps -= static_cast<std::int64_t>(bounds.size());
          if (steps <= 0) {
            move(bounds, begin, count, !up);
            return;
          }
          if (accept(bounds)) {
            since_accepted = 0;
          } else {
            move(bounds, begin, count, !up);
          }
        }
      }
    }
  }
}

void balance_by_moves(const CutLoads& loads, CutBounds& bounds, std::int64_t& steps) {
  CutFigures best = loads.figures(bounds);
  improve_by_moves(bounds, steps, [&](const CutBounds& changed) {
    const CutFigures figures = loads.figures(changed);
    if (std::tie(figures.load, figures.load_squares) >= std::tie(best.load, best.load_squares)) return false;
    best = figures;
    return true;
  });
}

void shorten_by_moves(const CutLoads& loads, CutBounds& bounds, std::int64_t& steps) {
  CutFigures best = loads.figures(bounds);
  const std::int64_t load = best.load;
  improve_by_moves(bounds, steps, [&](const CutBounds& changed) {
    const CutFigures figures = loads.figures(changed);
    if (figures.load > load ||
        std::tie(figures.stage, figures.stage_squares) >= std::tie(best.stage, best.stage_squares)) {
      return false;
    }
    best = figures;
    return true;
  });
}

CutBounds shaken(CutBounds bounds, std::mt19937& random) {
  const std::size_t inner = bounds.size() - 2;
  for (std::uint32_t i = 0; inner > 0 && i < kShake; ++i) {
    const std::size_t end = 1 + random() % inner;
    (void)move(bounds, end, 1, random() % 2 == 0);
  }
  return bounds;
}

}  // namespace opweave::detail
