/// An execution order made ready for the simulation: checked, numbered, gangs tied together.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "opweave/simulate.h"

namespace opweave::simulation {

/// Sums and products that may exceed 64 bits.
__extension__ using Wide = __int128;

/// One task of a piece.
struct Member {
  TaskId task;
  Duration offset;  ///< from the start of the piece
};

/// Blocks that run as one: a block, or several that a task on several devices ties together.
struct Piece {
  std::uint32_t first_member = 0;
  std::uint32_t member_count = 0;
  std::uint32_t first_slot = 0;
  std::uint32_t slot_count = 0;
  Duration duration;
  bool fixed_duration = false;
};

/// The pieces of an order. A queue is one stream of one device: queue = device x streams + stream.
struct Pieces {
  std::vector<Piece> pieces;
  std::vector<Member> members;             ///< piece after piece; within one by offset, then id: a topological order
  std::vector<std::uint32_t> slots;        ///< piece after piece: the queues that it holds
  std::vector<std::uint32_t> piece_of;     ///< by TaskId
  std::vector<std::uint32_t> queue_first;  ///< per queue, and one more: its part of queue_pieces
  std::vector<std::uint32_t> queue_pieces;

  // By TaskId: the chosen mode.
  std::vector<std::span<const DeviceId>> devices;
  std::vector<Duration> durations;

  [[nodiscard]] std::span<const Member> members_of(std::size_t piece) const {
    return std::span(members).subspan(pieces[piece].first_member, pieces[piece].member_count);
  }
  [[nodiscard]] std::span<const std::uint32_t> slots_of(std::size_t piece) const {
    return std::span(slots).subspan(pieces[piece].first_slot, pieces[piece].slot_count);
  }
};

/// \param slowed  durations are not known beforehand: blocks need not be as long as their tasks.
/// \throws InputError as simulate() does.
[[nodiscard]] Pieces make_pieces(const Problem& problem, const ExecutionOrder& order,
                                 const std::vector<Duration>& durations, bool slowed);

/// Pairs (earlier, later) of positions among the members of a piece, such that the later one starts
/// after the earlier one has ended: it needs it, or holds one of its streams after it.
[[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_within(const Problem& problem,
                                                                                const Pieces& pieces,
                                                                                std::size_t piece);

}  // namespace opweave::simulation
