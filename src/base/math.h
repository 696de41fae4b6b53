// Integer arithmetic that sizes and tilings share.
#pragma once

#include <cstdint>

namespace lasnet {

/// a / b rounded up; a >= 0, b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The smallest multiple of b that is >= a; a >= 0, b > 0.
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace lasnet
