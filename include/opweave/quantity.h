/// Quantities with their unit in the type: integer nanoseconds and integer bytes.
#pragma once

#include <compare>
#include <cstdint>

namespace opweave {

/// An integer amount of one unit. Amounts of different units do not mix; amounts of the same
/// unit add, subtract, compare exactly, and scale by integers.
template <class Unit>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(std::int64_t value) : value_(value) {}

  /// The bare number, in the unit that the type names.
  [[nodiscard]] constexpr std::int64_t value() const { return value_; }

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value_ -= other.value_;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.value_ + b.value_); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.value_ - b.value_); }
  friend constexpr Quantity operator*(Quantity a, std::int64_t factor) { return Quantity(a.value_ * factor); }

 private:
  std::int64_t value_ = 0;
};

/// Nanoseconds: a span of time, or a moment counted from the start of the iteration.
using Duration = Quantity<struct NanosecondUnit>;

/// Bytes of memory or of a message.
using Bytes = Quantity<struct ByteUnit>;

/// Largest value accepted for one duration or size in an input file (2^53 - 1): every JSON reader
/// can hold it exactly, and sums over a million operators are checked against overflow when a
/// Problem is built.
inline constexpr std::int64_t kMaxInputValue = (std::int64_t{1} << 53) - 1;

}  // namespace opweave
