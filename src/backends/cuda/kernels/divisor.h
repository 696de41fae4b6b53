// Division by a number that many are divided by, which costs a device a multiplication instead of twenty
// instructions.
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace lasnet::cuda {

/// A positive number. With l the least for which it is at most 2^l, and m = 2^(31 + l) / number, rounded up:
/// n / number = n * m / 2^(31 + l), rounded down, for 0 <= n < 2^31 (Granlund and Montgomery 1994).
class Divisor {
 public:
  constexpr Divisor(int number) : number_(number) {  // NOLINT: as good as the number
    while (shift_ < 62 && int64_t{1} << (shift_ - 31) < number) ++shift_;
    multiplier_ = static_cast<uint32_t>(((uint64_t{1} << shift_) + static_cast<unsigned>(number) - 1) /
                                        static_cast<unsigned>(number));
  }

  LASNET_HOST_DEVICE constexpr operator int() const { return number_; }  // NOLINT
  LASNET_HOST_DEVICE friend constexpr int operator/(int n, const Divisor& divisor) {
    return static_cast<int>(uint64_t{static_cast<unsigned>(n)} * divisor.multiplier_ >> divisor.shift_);
  }

 private:
  int number_;
  int shift_ = 31;
  uint32_t multiplier_ = 0;
};

}  // namespace lasnet::cuda
