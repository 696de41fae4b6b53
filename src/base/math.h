// Arithmetic that sizes, tilings and prices share. Code of devices and of one instruction set writes it out:
// what it calls would change the one, and leave the other.
#pragma once

#include <cmath>
#include <type_traits>

namespace lasnet {

/// a / b rounded up; a >= 0, b > 0. Of integers an integer, of other numbers (expected counts) their kind.
template <typename A, typename B>
constexpr auto ceil_div(A a, B b) {
  if constexpr (std::is_floating_point_v<A> || std::is_floating_point_v<B>) {
    return std::ceil(a / b);
  } else {
    return (a + b - 1) / b;
  }
}

/// The smallest multiple of b that is >= a; integers, a >= 0, b > 0.
template <typename A, typename B>
constexpr auto round_up(A a, B b) {
  return ceil_div(a, b) * b;
}

}  // namespace lasnet
