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
#include "backends/cuda/kernels/masker_patch.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kWarps = kMaskerWarps;
constexpr int kThreads = 32 * kWarps;
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

/// kMaskers maskers, of this warp, times all slots' sums of a step that begins at channel `begin`. No branch
/// among them: sums of few terms wait for each other, and others fill the time.
template <class T, int kMaskers>
__device__ void multiply_step(const MaskerGroupCall& call, int warp, int lane, int begin,
                              const PooledSums<T>& pooled, float (&dots)[32]) {
#pragma unroll
  for (int v = 0; v < kLaneVectors<T>; ++v) {
    int c = begin + (v * 32 + lane) * kVector<T>;
    if (c >= call.x.pitch) break;
    float weights[kMaskers][kVector<T>];
#pragma unroll
    for (int m = 0; m < kMaskers; ++m) load_floats(call.targets[warp + m * kWarps].weight + c, weights[m]);
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      float sums[kVector<T>];
      pooled.get(slot, v, sums);
#pragma unroll
      for (int m = 0; m < kMaskers; ++m) dots[m * kSlots + slot] += weighted(weights[m], sums);
    }
  }
}

/// The same of however many maskers the warp has.
template <class T>
__device__ void add_products(const MaskerGroupCall& call, int warp, int lane, int begin,
                             const PooledSums<T>& pooled, float (&dots)[32]) {
  static_assert(kPerWarp == 4);
  switch ((call.count - warp + kWarps - 1) / kWarps) {
    case 0:
      return;
    case 1:
      return multiply_step<T, 1>(call, warp, lane, begin, pooled, dots);
    case 2:
      return multiply_step<T, 2>(call, warp, lane, begin, pooled, dots);
    case 3:
      return multiply_step<T, 3>(call, warp, lane, begin, pooled, dots);
    default:
      return multiply_step<T, 4>(call, warp, lane, begin, pooled, dots);
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

/// The patches that a block of threads decides about.
template <int kSide>
class ListedPatches {
 public:
  __device__ explicit ListedPatches(const MaskerGroupCall& call)
      : call_(call),
        all_(call.geometry.images * call.geometry.patches()),
        first_(static_cast<int>(blockIdx.x) * (kSide == kLarge ? 1 : kSlots)) {}

  __device__ int count() const { return call_.listed == nullptr ? all_ : *call_.listed_count; }
  __device__ int entry(int slot) const { return kSide == kLarge ? first_ : first_ + slot; }
  /// Read beside the list's length, not after it: beyond the list's end it is anything.
  __device__ int index(int slot) const {
    int place = least(entry(slot), all_ - 1);
    return call_.listed == nullptr ? place : call_.listed[place];
  }

 private:
  const MaskerGroupCall& call_;
  int all_, first_;
};

/// A decision that a lane takes: of one of its warp's maskers about the patch of a slot. What it needs is
/// read before it is due.
template <int kSide>
struct LaneDecision {
  int masker, slot;
  bool is_due;
  int index;
  PatchRule rule;

  /// `listed_index`: of the lane's slot.
  __device__ LaneDecision(const MaskerGroupCall& call, int lane_masker, int lane_slot, bool is_listed,
                          int listed_index)
      : masker(lane_masker),
        slot(lane_slot),
        is_due(masker < call.count && is_listed && (kSide != kLarge || slot == 0)),
        index(is_due ? listed_index : 0),
        rule(call.targets[is_due ? masker : 0], index) {}

  /// `dots`: [masker of the warp][slot].
  __device__ void take(const MaskerGroupCall& call, const float (&dots)[32]) const {
    float sum = warp_sums(dots);
    if constexpr (kSide == kLarge) {  // its shares, one after the other
      float share = sum;
      sum = __shfl_sync(kWholeWarp, share, lane_index() - slot);
      for (int i = 1; i < kSlots; ++i) sum += __shfl_sync(kWholeWarp, share, lane_index() - slot + i);
    }
    if (is_due) decide(call.targets[masker], MaskerPatch(call.geometry, call.x, index), rule, sum);
  }
};

template <class T, int kSide>
__global__ void __launch_bounds__(kThreads, 2) group_kernel(MaskerGroupCall call) {
  begin_kernel();
  int lane = lane_index(), warp = warp_index();
  ListedPatches<kSide> listed(call);
  int slot = lane % kSlots, pooled_index = listed.index(warp), decided_index = listed.index(slot);
  int patches = listed.count();
  if (listed.entry(0) >= patches) return;
  bool has_patch = listed.entry(warp) < patches;  // else the slot's sums are whatever they are
  MaskerPatch patch(call.geometry, call.x, has_patch ? pooled_index : 0);
  LaneDecision<kSide> decision(call, warp + lane / kSlots * kWarps, slot, listed.entry(slot) < patches,
                               decided_index);
  PooledSums<T> pooled(lane);
  float dots[32] = {};
  for (int begin = 0; begin < call.x.pitch; begin += kStepChannels) {
    if (has_patch) pool_step<T, kSide>(call, patch, warp, lane, begin, pooled);
    __syncthreads();
    add_products<T>(call, warp, lane, begin, pooled, dots);
    __syncthreads();
  }
  decision.take(call, dots);
}

template <class T>
void launch_group(Stream& stream, const MaskerGroupCall& call) {
  const ListGeometry& g = call.geometry;
  int64_t patches = int64_t{g.images} * g.patches();
  LaunchShape small{ceil_div(patches, kSlots), kThreads, kSharedBytes};
  const int side = g.granularity * g.stride;
  switch (is_small_patch(side) ? side : kLarge) {
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
  if (precision == Precision::bf16) return launch_group<BFloat16>(stream, call);
  launch_group<float>(stream, call);
}

}  // namespace lasnet::cuda
