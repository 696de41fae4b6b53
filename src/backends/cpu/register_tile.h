// The shape of the kernels' register tile per instruction set, and its cost in issue slots: what the kernels
// are compiled for and the latency model knows of the inner loop.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "lasnet/engine.h"

namespace lasnet {

/// Reduction steps whose weights stay near while a task's pixels pass over them: one register block's take 8
/// to 16 KiB, half of the first-level cache, and 64 KiB of the second with AVX-512.
inline constexpr int64_t kReductionSlice = 256;

/// A tile holds `pixels[v - 1]` pixels x v vectors of output channels, v <= vectors: with the weights and a
/// broadcast they fill 16 or, of AVX-512 and NEON, 32 registers. Of single vectors more pixels would fit, but
/// not their addresses.
struct RegisterTile {
  int vector_width = 4;  ///< floats
  int vectors = 2;
  std::array<int, 4> pixels = {6, 4, 0, 0};

  int block_width() const { return vector_width * vectors; }
  int full_pixels(int vectors_used) const { return pixels[static_cast<size_t>(vectors_used - 1)]; }
  /// Cycles per reduction step of m pixels x v vectors: two multiply-adds start per cycle, each sum waits
  /// four cycles for its previous one, and two loads start per cycle (weights, and a broadcast per pixel).
  static double cycles(int m, int v) { return std::max({m * v / 2.0, 4.0, (m + v) / 2.0}); }
};

constexpr RegisterTile register_tile(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return {16, 4, {8, 12, 8, 6}};
    case Isa::neon:
      return {4, 4, {8, 12, 8, 6}};
    case Isa::avx2:
      return {8, 2, {8, 6, 0, 0}};
    default:
      return {4, 2, {6, 4, 0, 0}};
  }
}

/// Names of int8 kernels.
inline constexpr std::array<std::string_view, 6> kInt8KernelNames = {"scalar",      "avx2", "avx_vnni",
                                                                     "avx512_vnni", "neon", "neon_dotprod"};

/// Of the int8 kernels of this name; vectors are of int32 sums. Those without a dot product of bytes need
/// registers for products of 16 bits.
constexpr RegisterTile int8_register_tile(std::string_view kernels) {
  if (kernels == "avx512_vnni") return register_tile(Isa::avx512);
  if (kernels == "avx_vnni") return register_tile(Isa::avx2);
  if (kernels == "avx2") return {8, 2, {8, 5, 0, 0}};
  if (kernels.starts_with("neon")) return register_tile(Isa::neon);
  return {4, 2, {4, 2, 0, 0}};
}

}  // namespace lasnet
