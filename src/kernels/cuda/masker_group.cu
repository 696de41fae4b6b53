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
// patches; they come to shared memory while pixels are read. Sums are taken in masker.cu's order: the bits
// are the same.
//
// A few hundred patches are one round of blocks, which is as long as its loads wait for each other. So three
// blocks share a multiprocessor, and what can be read early is.
#include "kernels/cuda/masker_patch.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kSlots = kWarps;  ///< patches, or shares of a patch, of a block of threads
constexpr int kPerWarp = kMaxMaskers / kWarps;
constexpr int kStepChannels = 512;
constexpr int kResident = 3;
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

/// Rows of floats in shared memory, one per channel of a step, in quarters of 4 channels: neighbouring lanes
/// read neighbouring 16 bytes.
template <class T>
class StepRows {
 public:
  static constexpr int kQuads = kVector<T> / 4;

  __device__ StepRows(int first_row, int lane)
      : rows_(shared_memory<float>() + first_row * kStepChannels + lane * 4) {}

  /// Of a lane's vector, 4 channels.
  __device__ float* place(int row, int vector, int quad) const {
    return rows_ + row * kStepChannels + (vector * kQuads + quad) * 32 * 4;
  }
  __device__ void put(int row, int vector, const float (&values)[kVector<T>]) {
    for (int q = 0; q < kQuads; ++q) {
      const float four[4] = {values[q * 4], values[q * 4 + 1], values[q * 4 + 2], values[q * 4 + 3]};
      store_vector(place(row, vector, q), four);
    }
  }
  __device__ void get(int row, int vector, float (&values)[kVector<T>]) const {
    for (int q = 0; q < kQuads; ++q) {
      float four[4];
      load_vector(place(row, vector, q), four);
      for (int k = 0; k < 4; ++k) values[q * 4 + k] = four[k];
    }
  }

 private:
  float* rows_;
};

/// Shared memory: sums of each slot, then weights of each masker.
int64_t shared_bytes(const MaskerGroupCall& call) {
  return int64_t{kSlots + call.count} * kStepChannels * static_cast<int>(sizeof(float));
}

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

/// Starts the copies of a step's weights of this warp's maskers: a lane what it will read itself.
template <class T>
__device__ void fetch_weights(const MaskerGroupCall& call, int warp, int lane, int begin,
                              const StepRows<T>& weights) {
  for (int masker = warp; masker < call.count; masker += kWarps) {
#pragma unroll
    for (int v = 0; v < kLaneVectors<T>; ++v) {
      int c = begin + (v * 32 + lane) * kVector<T>;
      if (c >= call.x.pitch) break;
      for (int q = 0; q < StepRows<T>::kQuads; ++q)
        copy_async(weights.place(masker, v, q), call.targets[masker].weight + c + q * 4, true);
    }
  }
  commit_copies();
}

/// This warp's maskers times all slots' sums of a step that begins at channel `begin`.
template <class T>
__device__ void add_products(const MaskerGroupCall& call, int warp, int lane, int begin,
                             const StepRows<T>& pooled, const StepRows<T>& staged, float (&dots)[32]) {
  if (warp >= call.count) return;
#pragma unroll
  for (int v = 0; v < kLaneVectors<T>; ++v) {
    if (begin + (v * 32 + lane) * kVector<T> >= call.x.pitch) break;
    float weights[kPerWarp][kVector<T>] = {};
#pragma unroll
    for (int m = 0; m < kPerWarp; ++m) {
      if (warp + m * kWarps >= call.count) break;
      staged.get(warp + m * kWarps, v, weights[m]);
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
                          int begin, StepRows<T>& pooled) {
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

/// The patches that a block of threads decides about.
template <int kSide>
class ListedPatches {
 public:
  __device__ explicit ListedPatches(const MaskerGroupCall& call)
      : call_(call), all_(call.geometry.images * call.geometry.patches()) {
    first_ = static_cast<int>(blockIdx.x) * (kSide == kLarge ? 1 : kSlots);
  }
  __device__ int count() const { return call_.listed == nullptr ? all_ : *call_.listed_count; }
  __device__ int entry(int slot) const { return kSide == kLarge ? first_ : first_ + slot; }
  /// Read beside the list's length, not after it: beyond, it is any patch.
  __device__ int index(int slot) const {
    int last = all_ - 1, place = least(entry(slot), last);
    if (call_.listed == nullptr) return place;
    int index = call_.listed[place];
    return index < 0 ? 0 : least(index, last);
  }

 private:
  const MaskerGroupCall& call_;
  int all_, first_;
};

/// The sum over a patch, of a lane's masker and slot. `dots`: [masker of the warp][slot].
template <int kSide>
__device__ float patch_sum(int lane, float (&dots)[32]) {
  float sum = warp_sums<>(dots, lane);
  if constexpr (kSide == kLarge) {  // its shares, one after the other
    int slot = lane % kSlots;
    float share = sum;
    sum = __shfl_sync(kWholeWarp, share, lane - slot);
    for (int i = 1; i < kSlots; ++i) sum += __shfl_sync(kWholeWarp, share, lane - slot + i);
  }
  return sum;
}

template <class T, int kSide>
__global__ void __launch_bounds__(kThreads, kResident) group_kernel(MaskerGroupCall call) {
  begin_kernel();
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  ListedPatches<kSide> listed(call);
  int index = listed.index(warp), slot = lane % kSlots, decided = listed.index(slot);
  int patches = listed.count();
  if (listed.entry(0) >= patches) return;
  StepRows<T> pooled(0, lane), weights(kSlots, lane);
  fetch_weights<T>(call, warp, lane, 0, weights);
  bool has_patch = listed.entry(warp) < patches;  // else the slot's sums are whatever they are
  MaskerPatch patch(call.geometry, call.x, index);
  int masker = warp + lane / kSlots * kWarps;  // of this lane's sum
  const MaskerTarget& target = call.targets[least(masker, call.count - 1)];
  ForcedDecision forced(target, decided);
  float dots[32] = {};
  for (int begin = 0; begin < call.x.pitch; begin += kStepChannels) {
    if (begin > 0) fetch_weights<T>(call, warp, lane, begin, weights);
    if (has_patch) pool_step<T, kSide>(call, patch, warp, lane, begin, pooled);
    wait_copies<0>();
    __syncthreads();
    add_products<T>(call, warp, lane, begin, pooled, weights, dots);
    __syncthreads();
  }
  float sum = patch_sum<kSide>(lane, dots);
  if (masker >= call.count || listed.entry(slot) >= patches || (kSide == kLarge && slot > 0)) return;
  decide(target, MaskerPatch(call.geometry, call.x, decided), forced, sum);
}

template <class T>
void launch_group(Stream& stream, const MaskerGroupCall& call) {
  const ListGeometry& g = call.geometry;
  int64_t patches = int64_t{g.images} * g.patches();
  LaunchShape small{(patches + kSlots - 1) / kSlots, kThreads, shared_bytes(call)};
  switch (g.granularity * g.stride) {
    case 1:
      return launch(stream, group_kernel<T, 1>, small, call);
    case 2:
      return launch(stream, group_kernel<T, 2>, small, call);
    case 4:
      return launch(stream, group_kernel<T, 4>, small, call);
    default:
      return launch(stream, group_kernel<T, kLarge>, LaunchShape{patches, kThreads, shared_bytes(call)},
                    call);
  }
}

}  // namespace

void masker_group(Stream& stream, Precision precision, const MaskerGroupCall& call) {
  if (precision == Precision::fp16) return launch_group<Half>(stream, call);
  if (precision == Precision::bf16) return launch_group<Brain>(stream, call);
  launch_group<float>(stream, call);
}

}  // namespace lasnet::cuda
