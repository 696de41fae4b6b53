// The decisions of several blocks' maskers in one pass over the map that they share.
//
//   difference(m, p) = weight(m) . mean over the pixels of patch p of x + bias(m)
//
// A block only changes the map where its patches are active, so what a masker says of the others stays true:
// the first block decides for all that follow, and each of those for itself and the rest, about the patches
// that the block before wrote.
//
// A block of threads takes eight small patches or one large one. Its warps sum the pixels of a few hundred
// channels to shared memory, each of a patch, or of its share of the large patch's rows; then each multiplies
// all of these with the weights of its maskers, at most four, so that weights are read once for eight
// patches. Sums are taken in masker.cu's order: the bits are the same.
#include "kernels/cuda/masker_patch.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kSlots = kWarps;  ///< patches, or shares of a patch, of a block of threads
constexpr int kPerWarp = kMaxMaskers / kWarps;
constexpr int kStepChannels = 512;
constexpr int kSharedBytes = kSlots * kStepChannels * static_cast<int>(sizeof(float));
constexpr int kLarge = 0;                ///< side of a patch that takes a block of threads
static_assert(kPerWarp * kSlots == 32);  // a lane for each sum of a warp

/// Vectors of a lane in a step.
template <class T>
inline constexpr int kLaneVectors = kStepChannels / kWarpChannels<T>;

/// Vectors of a small patch that a lane reads at once.
template <class T, int kSide>
inline constexpr int kVectorsAtOnce = kSide == 1   ? kLaneVectors<T>
                                      : kSide == 2 ? 2
                                                   : 1;

/// Sums of a step, in quarters of 4 channels: neighbouring lanes read neighbouring 16 bytes.
template <class T>
class PooledSums {
 public:
  __device__ explicit PooledSums(int lane) : sums_(shared_memory<float>() + lane * 4) {}

  __device__ void put(int slot, int vector, const float (&sums)[kVector<T>]) {
    for (int q = 0; q < kQuads; ++q) {
      const float four[4] = {sums[q * 4], sums[q * 4 + 1], sums[q * 4 + 2], sums[q * 4 + 3]};
      store_vector(place(slot, vector, q), four);
    }
  }
  __device__ void get(int slot, int vector, float (&sums)[kVector<T>]) const {
    for (int q = 0; q < kQuads; ++q) {
      float four[4];
      load_vector(place(slot, vector, q), four);
      for (int k = 0; k < 4; ++k) sums[q * 4 + k] = four[k];
    }
  }

 private:
  static constexpr int kQuads = kVector<T> / 4;
  __device__ float* place(int slot, int vector, int quad) const {
    return sums_ + ((slot * kLaneVectors<T> + vector) * kQuads + quad) * 32 * 4;
  }
  float* sums_;
};

/// Sums 2 * kDistance values over a warp, in warp_sum's order: lane i receives that of value i.
template <int kDistance = 16>
__device__ float warp_sums(float (&values)[2 * kDistance], int lane) {
  bool upper = (lane & kDistance) != 0;
  float halves[kDistance];
#pragma unroll
  for (int i = 0; i < kDistance; ++i) {
    float kept = upper ? values[i + kDistance] : values[i];
    float given = upper ? values[i] : values[i + kDistance];
    halves[i] = kept + __shfl_xor_sync(kWholeWarp, given, kDistance);
  }
  if constexpr (kDistance == 1) {
    return halves[0];
  } else {
    return warp_sums<kDistance / 2>(halves, lane);
  }
}

/// This warp's maskers times all slots' sums of a step that begins at channel `begin`.
template <class T>
__device__ void add_products(const MaskerGroupCall& call, int warp, int lane, int begin,
                             const PooledSums<T>& pooled, float (&dots)[32]) {
#pragma unroll
  for (int v = 0; v < kLaneVectors<T>; ++v) {
    int c = begin + (v * 32 + lane) * kVector<T>;
    if (c >= call.x.pitch) break;
    float weights[kPerWarp][kVector<T>] = {};
#pragma unroll
    for (int m = 0; m < kPerWarp; ++m) {
      if (warp + m * kWarps >= call.count) break;
      load_floats(call.targets[warp + m * kWarps].weight + c, weights[m]);
    }
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      float sums[kVector<T>];
      pooled.get(slot, v, sums);
#pragma unroll
      for (int m = 0; m < kPerWarp; ++m) {
        if (warp + m * kWarps < call.count) dots[m * kSlots + slot] += weighted(weights[m], sums);
      }
    }
  }
}

/// Sums a step of this warp's slot.
template <class T, int kSide>
__device__ void pool_step(const MaskerGroupCall& call, const MaskerPatch& patch, int warp, int lane,
                          int begin, PooledSums<T>& pooled) {
  constexpr int kVectors = kVectorsAtOnce<T, kSide>;
  int64_t row_elements = static_cast<int64_t>(call.geometry.input_width + 2) * call.x.pitch;
  const T* first = static_cast<const T*>(call.x.data) + patch.first;
#pragma unroll
  for (int v = 0; v < kLaneVectors<T>; v += kVectors) {
    int c = begin + (v * 32 + lane) * kVector<T>;
    if (c >= call.x.pitch) break;
    float sums[kVectors][kVector<T>] = {};
    if constexpr (kSide == kLarge) {
      add_rows(first, call.x, row_elements, patch, c, warp, kWarps, sums[0]);
    } else {
      add_small_patch<T, kVectors, kSide>(first, call.x, row_elements, patch, c, sums);
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) pooled.put(warp, v + i, sums[i]);
  }
}

/// `dots`: [masker of the warp][slot].
template <int kSide>
__device__ void decide_group(const MaskerGroupCall& call, int first, int patches, int warp, int lane,
                             float (&dots)[32]) {
  float sum = warp_sums<>(dots, lane);
  int slot = lane % kSlots, masker = warp + lane / kSlots * kWarps;
  int entry = first + slot;
  if (kSide == kLarge) {  // its shares, one after the other
    float share = sum;
    sum = __shfl_sync(kWholeWarp, share, lane - slot);
    for (int i = 1; i < kSlots; ++i) sum += __shfl_sync(kWholeWarp, share, lane - slot + i);
    entry = slot == 0 ? first : patches;
  }
  if (masker >= call.count || entry >= patches) return;
  int index = call.listed == nullptr ? entry : call.listed[entry];
  MaskerPatch patch(call.geometry, call.x, index);
  decide(call.targets[masker], patch, ForcedDecision(call.targets[masker], patch), sum);
}

template <class T, int kSide>
__global__ void __launch_bounds__(kThreads, 2) group_kernel(MaskerGroupCall call) {
  begin_kernel();
  const ListGeometry& g = call.geometry;
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int patches = call.listed == nullptr ? g.images * g.patches() : *call.listed_count;
  int first = static_cast<int>(blockIdx.x) * (kSide == kLarge ? 1 : kSlots);
  if (first >= patches) return;
  int entry = kSide == kLarge ? first : first + warp;
  bool has_patch = entry < patches;  // else the slot's sums are whatever they are
  int index = !has_patch ? 0 : call.listed == nullptr ? entry : call.listed[entry];
  MaskerPatch patch(g, call.x, index);
  PooledSums<T> pooled(lane);
  float dots[32] = {};
  for (int begin = 0; begin < call.x.pitch; begin += kStepChannels) {
    if (has_patch) pool_step<T, kSide>(call, patch, warp, lane, begin, pooled);
    __syncthreads();
    add_products<T>(call, warp, lane, begin, pooled, dots);
    __syncthreads();
  }
  decide_group<kSide>(call, first, patches, warp, lane, dots);
}

template <class T>
void launch_group(Stream& stream, const MaskerGroupCall& call) {
  const ListGeometry& g = call.geometry;
  int64_t patches = int64_t{g.images} * g.patches();
  LaunchShape small{(patches + kSlots - 1) / kSlots, kThreads, kSharedBytes};
  switch (g.granularity * g.stride) {
    case 1:
      return launch(stream, group_kernel<T, 1>, small, call);
    case 2:
      return launch(stream, group_kernel<T, 2>, small, call);
    case 4:
      return launch(stream, group_kernel<T, 4>, small, call);
    default:
      return launch(stream, group_kernel<T, kLarge>, LaunchShape{patches, kThreads, kSharedBytes}, call);
  }
}

}  // namespace

void masker_group(Stream& stream, Precision precision, const MaskerGroupCall& call) {
  if (precision == Precision::fp16) return launch_group<Half>(stream, call);
  if (precision == Precision::bf16) return launch_group<Brain>(stream, call);
  launch_group<float>(stream, call);
}

}  // namespace lasnet::cuda
