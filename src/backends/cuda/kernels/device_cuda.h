// What the kernels use of CUDA, under names that tests emulate. This and warpgroup_cuda.h are the only places
// that look at __CUDA_ARCH__.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "backends/cuda/kernels/runtime.h"
#include "lasnet/precision.h"

namespace lasnet::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;

/// mma.sync on the shapes used here, ldmatrix of 16-byte rows and cp.async arrived with sm_80.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr bool kHasTensorCores = false;
#else
inline constexpr bool kHasTensorCores = true;
#endif

/// IEEE binary16 and bfloat16 in memory.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(Half value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ inline float to_float(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline Half from_float<Half>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
template <>
__device__ inline BFloat16 from_float<BFloat16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}

/// The greater values of two pairs, of Half or BFloat16, in one instruction; NaN if one is. Of compute
/// capability 8.0 on.
template <class T>
__device__ inline uint32_t max_of_pairs(uint32_t a, uint32_t b) {
#if __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, Half>) {
    asm("max.NaN.f16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  } else {
    asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(a) : "r"(b));
  }
#endif
  return a;
}

/// The block's dynamic shared memory, aligned as SharedOperand needs it.
template <class T>
__device__ inline T* shared_memory() {
  extern __shared__ __align__(1024) unsigned char lasnet_shared[];
  return reinterpret_cast<T*>(lasnet_shared);
}

/// 16 bytes from global to shared memory, or zeros. Arrives by the wait_copies that covers its group.
__device__ inline void copy_async(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global), "r"(bytes)
               : "memory");
#else
  uint4 zero{0, 0, 0, 0};
  *static_cast<uint4*>(shared) = valid ? *static_cast<const uint4*>(global) : zero;
#endif
}

/// 4 bytes from global to shared memory, the same way.
__device__ inline void copy_word_async(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(address), "l"(global) : "memory");
#else
  *static_cast<uint32_t*>(shared) = *static_cast<const uint32_t*>(global);
#endif
}

/// Barrier number `index`, below 16, of `threads` threads: whole warps.
__device__ inline void sync_threads_of(int index, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(index), "r"(threads) : "memory");
}

/// Closes a group of copies.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

/// Waits until at most `kPending` of this thread's groups are still on their way.
template <int kPending>
__device__ inline void wait_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
#endif
}

/// ldmatrix.x4: four 8 x 16-byte matrices; lane i gives row i % 8 of matrix i / 8, and receives of each
/// matrix the 4 bytes at row i / 4, byte 4 * (i % 4).
__device__ inline void load_matrices(uint32_t (&words)[4], const void* row) {
#if __CUDA_ARCH__ >= 800
  unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
#endif
}

/// Rounds a float to TF32, in place.
__device__ inline void round_to_tf32(uint32_t& word) {
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(word) : "f"(__uint_as_float(word)));
#endif
}

/// sums[16 x 8] += a[16 x 32 bytes] b[32 bytes x 8] by mma.sync: k is 16 of fp16 and bf16 (m16n8k16), 8 of
/// tf32 (m16n8k8). Lane i holds, with g = i / 4 and t = 4 * (i % 4) bytes of k: a = (g, t), (g + 8, t), (g, t
/// + 16), (g + 8, t + 16); b = (t, g), (t + 16, g); sums = rows g, g, g + 8, g + 8, columns 2 * (i % 4), + 1,
/// and again.
template <Precision P>
__device__ inline void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
#define LASNET_MMA(shape_and_types)                                                 \
  asm volatile("mma.sync.aligned." shape_and_types                                  \
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n" \
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
  if constexpr (P == Precision::fp16) {
    LASNET_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  } else if constexpr (P == Precision::bf16) {
    LASNET_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else {
    LASNET_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
  }
#undef LASNET_MMA
#endif
}

/// movmatrix: an 8 x 8 matrix of 16-bit values, of which lane i has two of row i / 4, transposed.
__device__ inline uint32_t transpose_matrix(uint32_t word) {
#if __CUDA_ARCH__ >= 750
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;\n" : "+r"(word));
#endif
  return word;
}

/// Kernels of a stream overlap at their ends (programmatic dependent launch, sm_90): a kernel starts when all
/// blocks of the one before have let it, or ended. Until wait_for_predecessor returns, nothing that the one
/// before wrote may be read, and nothing be written; every kernel calls it.
__device__ inline void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_successor_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// A value that other blocks write, or wait for, while this one runs.
__device__ inline unsigned long long load_volatile(const unsigned long long* from) {
  return *static_cast<const volatile unsigned long long*>(from);
}
__device__ inline void store_volatile(unsigned long long* to, unsigned long long value) {
  *static_cast<volatile unsigned long long*>(to) = value;
}

/// A read that happens where it is written. Compilers move others to where their value is first needed,
/// behind a branch that waits for something else.
__device__ inline int32_t load_here(const int32_t* from) {
  return *static_cast<const volatile int32_t*>(from);
}

/// `from`, which others may write at the same time unless what is read there is used. (Loads under a
/// condition would wait for it.)
template <class T>
__device__ inline const T* discarded_unless(bool, const T* from) {
  return from;
}

/// Threads and memory of a launch.
struct LaunchShape {
  int64_t blocks = 1;
  int threads = 32;
  int64_t shared_bytes = 0;
  int rows = 1;  ///< blockIdx.y
};

/// Starts a kernel. Throws Error if CUDA refuses it.
template <class... Parameters, class... Arguments>
void launch(Stream& stream, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Arguments&... arguments) {
  allow_shared_memory(reinterpret_cast<const void*>(kernel), shape.shared_bytes);
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks), static_cast<unsigned>(shape.rows));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream.handle());
  config.attrs = &overlap;
  config.numAttrs = stream.follows_kernel() ? 1 : 0;
  check_launch(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  stream.note_kernel();
}

}  // namespace lasnet::cuda
