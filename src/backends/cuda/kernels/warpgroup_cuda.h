// wgmma: products that the four warps of a warpgroup start together, under names that tests emulate. Only
// code for sm_90a has them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lasnet/precision.h"

namespace lasnet::cuda {

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kHasWarpgroupProducts = false;
#else
inline constexpr bool kHasWarpgroupProducts = true;
#endif

/// An operand of such products: rows of 128 bytes of the reduction, eight of them in 1024 aligned bytes, the
/// 16 bytes at column c of row r at column c ^ r % 8. As the "128B" layout of a matrix descriptor.
class SharedOperand {
 public:
  __device__ explicit SharedOperand(const void* rows) {
    constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kStride = uint64_t{1024 / 16} << 32;
    constexpr uint64_t kUnused = uint64_t{1} << 16;  // the distance of what a swizzled row does not have
    auto address = static_cast<unsigned>(__cvta_generic_to_shared(rows));
    descriptor_ = kSwizzle128 | kStride | kUnused | (address & 0x3ffff) >> 4;
  }
  /// The same rows from `bytes` of the reduction on.
  __device__ SharedOperand from(int bytes) const {
    SharedOperand rest = *this;
    rest.descriptor_ += static_cast<unsigned>(bytes) / 16;
    return rest;
  }
  __device__ uint64_t descriptor() const { return descriptor_; }

 private:
  uint64_t descriptor_;
};

/// What this thread's copies brought to shared memory will be seen by products after the next barrier.
__device__ inline void publish_to_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}

/// Before products whose sums anything else has touched.
__device__ inline void begin_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}

/// Closes a group of products.
__device__ inline void commit_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}

/// Waits until at most `kPending` groups of the warpgroup are still under way.
template <int kPending>
__device__ inline void wait_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
#endif
}

/// Starts sums[64 x kColumns] = a[64 rows][32 bytes] b[kColumns rows][32 bytes]^T, added to the sums if
/// `adds`: fp16 or bf16, float32 sums. Warp w of the four has rows 16 w to 16 w + 15, lane i of it, with g =
/// i / 4 and t = 2 * (i % 4), of every eight columns (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1). Neither
/// sums nor operands may be touched before wait_products.
template <Precision P, int kColumns>
__device__ inline void multiply_async(float (&sums)[kColumns / 2], const SharedOperand& a,
                                      const SharedOperand& b, bool adds) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define LASNET_EIGHT(i)                                                                      \
  "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), \
      "+f"(sums[i + 5]), "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define LASNET_WGMMA(columns, type, a_and_b, scale)                                        \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " scale                             \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type \
               " {" LASNET_REGISTERS_##columns "}, " a_and_b ", adds, 1, 1, 0, 0;\n}\n"    \
               : LASNET_SUMS_##columns                                                     \
               : "l"(a.descriptor()), "l"(b.descriptor()), "r"(static_cast<int>(adds)))
#define LASNET_WGMMA_OF(columns, a_and_b, scale)                                                           \
  if constexpr (kColumns == columns && P == Precision::fp16) LASNET_WGMMA(columns, "f16", a_and_b, scale); \
  if constexpr (kColumns == columns && P == Precision::bf16) LASNET_WGMMA(columns, "bf16", a_and_b, scale)
#define LASNET_REGISTERS_64                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, "         \
  "%8, %9, %10, %11, %12, %13, %14, %15, "   \
  "%16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define LASNET_SUMS_64 LASNET_EIGHT(0), LASNET_EIGHT(8), LASNET_EIGHT(16), LASNET_EIGHT(24)
#define LASNET_REGISTERS_80 LASNET_REGISTERS_64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define LASNET_SUMS_80 LASNET_SUMS_64, LASNET_EIGHT(32)
#define LASNET_REGISTERS_96 LASNET_REGISTERS_80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define LASNET_SUMS_96 LASNET_SUMS_80, LASNET_EIGHT(40)
#define LASNET_REGISTERS_112 LASNET_REGISTERS_96 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define LASNET_SUMS_112 LASNET_SUMS_96, LASNET_EIGHT(48)
#define LASNET_REGISTERS_128 LASNET_REGISTERS_112 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define LASNET_SUMS_128 LASNET_SUMS_112, LASNET_EIGHT(56)
#define LASNET_REGISTERS_144 LASNET_REGISTERS_128 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define LASNET_REGISTERS_160 LASNET_REGISTERS_144 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define LASNET_SUMS_160 LASNET_SUMS_128, LASNET_EIGHT(64), LASNET_EIGHT(72)
  LASNET_WGMMA_OF(64, "%32, %33", "%34");
  LASNET_WGMMA_OF(80, "%40, %41", "%42");
  LASNET_WGMMA_OF(96, "%48, %49", "%50");
  LASNET_WGMMA_OF(112, "%56, %57", "%58");
  LASNET_WGMMA_OF(128, "%64, %65", "%66");
  LASNET_WGMMA_OF(160, "%80, %81", "%82");
#undef LASNET_REGISTERS_64
#undef LASNET_SUMS_64
#undef LASNET_REGISTERS_80
#undef LASNET_SUMS_80
#undef LASNET_REGISTERS_96
#undef LASNET_SUMS_96
#undef LASNET_REGISTERS_112
#undef LASNET_SUMS_112
#undef LASNET_REGISTERS_128
#undef LASNET_SUMS_128
#undef LASNET_REGISTERS_144
#undef LASNET_REGISTERS_160
#undef LASNET_SUMS_160
#undef LASNET_WGMMA_OF
#undef LASNET_WGMMA
#undef LASNET_EIGHT
#endif
}

}  // namespace lasnet::cuda
