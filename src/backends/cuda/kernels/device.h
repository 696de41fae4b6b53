// The language of the kernels: CUDA C++ when nvcc compiles, else what a test-only header emulates of it (one
// fiber per thread, see tests/cuda/emulation). Kernels use nothing of CUDA but what this header,
// device_cuda.h, warpgroup_cuda.h and their emulation declare, so each of them also runs on a host.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include "backends/cuda/kernels/device_cuda.h"
#include "backends/cuda/kernels/warpgroup_cuda.h"
#else
#include "cuda_emulation.h"
#endif

#include "lasnet/precision.h"

namespace lasnet::cuda {

/// Type of weights and activations in memory.
template <Precision P>
struct ElementOf {
  using Type = float;
};
template <>
struct ElementOf<Precision::fp16> {
  using Type = Half;
};
template <>
struct ElementOf<Precision::bf16> {
  using Type = BFloat16;
};

/// A word of two minus infinities.
template <class T>
inline constexpr uint32_t kMinPair = 0;
template <>
inline constexpr uint32_t kMinPair<Half> = 0xfc00fc00u;
template <>
inline constexpr uint32_t kMinPair<BFloat16> = 0xff80ff80u;

/// Elements in the 16 bytes that one load moves.
template <class T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

/// What every kernel starts with, unless it has something to do that needs nothing of the one before.
__device__ inline void begin_kernel() {
  let_successor_start();
  wait_for_predecessor();
}

__device__ inline float as_float(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t as_bits(float value) { return __float_as_uint(value); }

template <class T>
__device__ inline void unpack_word(uint32_t word, float* values) {
  if constexpr (sizeof(T) == 4) {
    values[0] = as_float(word);
  } else {
    values[0] = to_float(T{static_cast<uint16_t>(word)});
    values[1] = to_float(T{static_cast<uint16_t>(word >> 16)});
  }
}

template <class T>
__device__ inline uint32_t pack_word(const float* values) {
  if constexpr (sizeof(T) == 4) {
    return as_bits(values[0]);
  } else {
    return from_float<T>(values[0]).bits | static_cast<uint32_t>(from_float<T>(values[1]).bits) << 16;
  }
}

/// 16 bytes as floats.
template <class T>
__device__ inline void unpack_vector(uint4 words, float (&values)[kVector<T>]) {
  constexpr int kPerWord = kVector<T> / 4;
  unpack_word<T>(words.x, values);
  unpack_word<T>(words.y, values + kPerWord);
  unpack_word<T>(words.z, values + 2 * kPerWord);
  unpack_word<T>(words.w, values + 3 * kPerWord);
}

/// 16 aligned bytes as floats.
template <class T>
__device__ inline void load_vector(const T* from, float (&values)[kVector<T>]) {
  unpack_vector<T>(*reinterpret_cast<const uint4*>(from), values);
}

/// Aligned floats that belong to a vector, 16 bytes at a time: read one by one, a warp's would take more of
/// the caches than the vectors do.
template <int kCount>
__device__ inline void load_floats(const float* from, float (&values)[kCount]) {
  for (int k = 0; k < kCount; k += 4) {
    float four[4];
    load_vector(from + k, four);
    for (int i = 0; i < 4; ++i) values[k + i] = four[i];
  }
}

template <class T>
__device__ inline void store_vector(T* to, const float (&values)[kVector<T>]) {
  constexpr int kPerWord = kVector<T> / 4;
  uint4 words;
  words.x = pack_word<T>(values);
  words.y = pack_word<T>(values + kPerWord);
  words.z = pack_word<T>(values + 2 * kPerWord);
  words.w = pack_word<T>(values + 3 * kPerWord);
  *reinterpret_cast<uint4*>(to) = words;
}

__device__ inline int least(int a, int b) { return a < b ? a : b; }
__device__ inline int lane_index() { return static_cast<int>(threadIdx.x % 32); }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x / 32); }

/// max(0, x) that keeps NaN, as the CPU's kernels do.
__device__ inline float relu(float x) { return x < 0 ? 0.0f : x; }

/// Sum over a warp, the same in every lane; a fixed order.
__device__ inline float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kWholeWarp, value, distance);
  return value;
}

__device__ inline int warp_sum(int value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kWholeWarp, value, distance);
  return value;
}

/// Sums 2 * kDistance values over a warp, in warp_sum's order: lane i receives that of value i.
template <int kDistance = 16>
__device__ inline float warp_sums(const float (&values)[2 * kDistance]) {
  bool upper = (lane_index() & kDistance) != 0;
  float halves[kDistance];
  for (int i = 0; i < kDistance; ++i) {
    float kept = upper ? values[i + kDistance] : values[i];
    float given = upper ? values[i] : values[i + kDistance];
    halves[i] = kept + __shfl_xor_sync(kWholeWarp, given, kDistance);
  }
  if constexpr (kDistance == 1) {
    return halves[0];
  } else {
    return warp_sums<kDistance / 2>(halves);
  }
}

/// Sum over the lanes up to and with this one.
__device__ inline int warp_sum_up_to(int value) {
  for (int distance = 1; distance < 32; distance *= 2) {
    int other = __shfl_up_sync(kWholeWarp, value, distance);
    value += lane_index() >= distance ? other : 0;
  }
  return value;
}

}  // namespace lasnet::cuda
