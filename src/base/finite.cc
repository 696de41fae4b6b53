#include "base/finite.h"

#include <bit>
#include <cstdint>

namespace lasnet {

/// Without branches, so that it is vectorised: the exponent of NaN and infinity is all ones.
bool all_finite(std::span<const float> values) {
  constexpr int32_t kMagnitude = 0x7fffffff, kLargestFinite = 0x7f7fffff;
  int32_t beyond = 0;
  for (const float value : values) beyond |= (std::bit_cast<int32_t>(value) & kMagnitude) > kLargestFinite;
  return beyond == 0;
}

}  // namespace lasnet
