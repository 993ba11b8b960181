/// All cuts within limits, one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_set>
#include <vector>

#include "training/cut_capacity.h"
#include "training/cut_loads.h"

namespace opweave::detail {

/// Depth first over where the rounds begin, then device by device: the stages of all rounds on one device are chosen
/// together, so that its load is settled, and what follows depends on nothing but how far each round has come. Such a
/// state from which nothing was found is never entered again.
class CutSearch {
 public:
  enum class Answer {
    kStopped,  ///< by the visitor
    kAll,      ///< the visitor has seen every cut within the limits
    kUnknown,  ///< the steps ran out
  };
  enum class Want { kOne, kEvery };
  using Visitor = std::function<bool(const CutBounds&)>;  ///< false stops

  CutSearch(const CutLoads& loads, const CutCapacity& capacity) : loads_(loads), capacity_(capacity) {}

  /// Takes from `steps` what it uses. With kOne a visitor that does not stop may see a cut twice.
  Answer run(const CutLimits& limits, Want want, std::int64_t& steps, const Visitor& visit);

 private:
  struct Interval {
    std::uint32_t begin;
    std::uint32_t end;
  };
  struct KeyHash {
    std::size_t operator()(const std::vector<std::uint32_t>& key) const;
  };

  bool choose_begin(std::size_t round);
  bool search_rounds();
  bool choose_stage(std::uint32_t group, std::size_t front, const CutLoads::Share& load);
  bool take(std::uint32_t group, std::size_t front, std::uint32_t layers, const CutLoads::Share& load);
  bool next_group(std::uint32_t group);
  [[nodiscard]] Interval part_of(std::size_t front, std::uint32_t layers) const;
  [[nodiscard]] std::uint32_t fullest(std::uint32_t group, std::size_t front, std::uint32_t most,
                                      const CutLoads::Share& load) const;
  [[nodiscard]] bool round_fits(const Interval& interval, std::uint32_t stages) const;
  [[nodiscard]] std::vector<std::uint32_t> state(std::uint32_t group) const;
  [[nodiscard]] std::uint32_t fronts_in(std::uint32_t group) const;
  [[nodiscard]] bool out_of_steps() const { return *steps_ <= round_limit_; }

  const CutLoads& loads_;
  const CutCapacity& capacity_;
  CutLimits limits_;
  std::int64_t* steps_ = nullptr;
  std::int64_t round_limit_ = 0;  ///< steps that must be left when the search below one choice of rounds ends
  const Visitor* visit_ = nullptr;
  bool cut_short_ = false;
  std::uint64_t found_ = 0;
  std::int64_t round_steps_ = 0;              ///< steps below one choice of rounds
  std::int64_t rounds_left_ = 0;              ///< choices of rounds
  std::vector<std::int64_t> capacity_after_;  ///< of the groups after each
  std::int64_t left_ = 0;                     ///< weight that no stage has yet
  std::vector<Interval> rest_;                ///< of each front: layers that no stage has yet
  CutBounds bounds_;
  std::unordered_set<std::vector<std::uint32_t>, KeyHash> failed_;
};

}  // namespace opweave::detail
