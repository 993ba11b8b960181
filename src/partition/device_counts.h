/// How many devices of each kind have been used, as one number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "partition/cut_model.h"

namespace opweave::partition {

/// Mixed-radix numbers: digit k counts the used devices of kind k. No more devices of a kind than vertices are counted.
class DeviceCounts {
 public:
  explicit DeviceCounts(const CutModel& model) {
    for (const DeviceKind& kind : model.kinds) {
      most_.push_back(std::min<std::size_t>(kind.count, model.vertex_count()));
      stride_.push_back(size_);
      size_ *= most_.back() + 1;
    }
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t used(std::size_t code, std::size_t kind) const {
    return code / stride_[kind] % (most_[kind] + 1);
  }
  [[nodiscard]] std::size_t left(std::size_t code, std::size_t kind) const { return most_[kind] - used(code, kind); }
  /// \pre left(code, kind) > 0
  [[nodiscard]] std::size_t with(std::size_t code, std::size_t kind) const { return code + stride_[kind]; }
  [[nodiscard]] std::size_t without(std::size_t code, std::size_t kind) const { return code - stride_[kind]; }

 private:
  std::vector<std::size_t> most_;
  std::vector<std::size_t> stride_;
  std::size_t size_ = 1;
};

}  // namespace opweave::partition
