/// Distinct integer types for the things that are counted, so that a device cannot index operators.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace opweave {

/// Index of one thing of kind `Tag` in its owner's list, counted from 0.
template <class Tag>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(std::size_t index) : index_(static_cast<std::uint32_t>(index)) {}

  [[nodiscard]] constexpr std::size_t index() const { return index_; }
  constexpr auto operator<=>(const Id&) const = default;

 private:
  std::uint32_t index_ = 0;
};

using OperatorId = Id<struct OperatorTag>;    ///< operator of the one-microbatch graph
using TensorId = Id<struct TensorTag>;        ///< tensor of the one-microbatch graph
using ParameterId = Id<struct ParameterTag>;  ///< parameter (weights) of the graph
using DeviceId = Id<struct DeviceTag>;        ///< device of the cluster
using LinkId = Id<struct LinkTag>;            ///< link of the cluster
using StreamId = Id<struct StreamTag>;        ///< stream name, numbered over the whole cluster
using TaskId = Id<struct TaskTag>;            ///< operator instance: one operator of one microbatch
using ValueId = Id<struct ValueTag>;          ///< tensor instance: one tensor of one microbatch
using GroupId = Id<struct GroupTag>;          ///< tasks that must share their devices
using StageId = Id<struct StageTag>;          ///< consecutive part of a model

}  // namespace opweave

template <class Tag>
struct std::hash<opweave::Id<Tag>> {
  std::size_t operator()(opweave::Id<Tag> id) const noexcept { return id.index(); }
};
