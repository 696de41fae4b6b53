// Logit difference of each patch, and its decision.
//
//   difference(n, i, j) = weight . mean over the patch's input pixels of x + bias
//   active iff difference >= the block's threshold
//
// Patches of 1, 2 x 2 and 4 x 4 input pixels take a warp each, larger ones a block, whose warps take rows.
// Lanes take vectors of 16 bytes of channels, so that a pixel is read in whole cache lines, and all of a
// small patch's pixels at once. The order of a sum depends on the patch only: a decision does not depend on
// the batch.
#include "backends/cuda/kernels/masker_patch.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

constexpr int kWarps = kMaskerWarps;
constexpr int kThreads = 32 * kWarps;

/// Four blocks are 64 registers per thread: beside a convolution's block of the `split` tile there must be
/// room for one of these.
constexpr int kResident = 4;

template <class T, int kSide>
__global__ void __launch_bounds__(kThreads, kResident) small_patches_kernel(MaskerCall call) {
  begin_kernel();
  constexpr int kVectors = 4 / kSide;
  const ListGeometry& g = call.geometry;
  int lane = lane_index(), pitch = call.x.pitch;
  int index = static_cast<int>(blockIdx.x) * kWarps + warp_index();
  if (index >= g.images * g.patches()) return;  // whole warps
  MaskerPatch patch(g, call.x, index);
  PatchRule rule(call.target, patch.index);
  int row_elements = (g.input_width + 2) * pitch;
  const T* first = static_cast<const T*>(call.x.data) + patch.first;
  float dot = 0;
  for (int c = lane * kVector<T>; c < pitch; c += kVectors * kWarpChannels<T>) {
    float sums[kVectors][kVector<T>] = {};
    add_small_patch<T, kVectors, kSide>(first, call.x, row_elements, patch, c, sums);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      int channel = c + v * kWarpChannels<T>;
      float weights[kVector<T>];
      load_floats(call.target.weight + least(channel, pitch - kVector<T>), weights);
      float share = weighted(weights, sums[v]);
      dot = channel < pitch ? dot + share : dot;  // no branch that loads could be moved behind
    }
  }
  dot = warp_sum(dot);
  if (lane == 0) decide(call.target, patch, rule, dot);
}

template <class T>
__global__ void __launch_bounds__(kThreads, kResident) large_patches_kernel(MaskerCall call) {
  begin_kernel();
  auto* partial = shared_memory<float>();
  const ListGeometry& g = call.geometry;
  int lane = lane_index(), warp = warp_index();
  int pitch = call.x.pitch;
  MaskerPatch patch(g, call.x, static_cast<int>(blockIdx.x));
  PatchRule rule(call.target, patch.index);
  int64_t row_elements = static_cast<int64_t>(g.input_width + 2) * pitch;
  const T* first = static_cast<const T*>(call.x.data) + patch.first;
  float dot = 0;
  for (int c = lane * kVector<T>; c < pitch; c += kWarpChannels<T>) {
    float sums[kVector<T>] = {}, weights[kVector<T>];
    load_floats(call.target.weight + c, weights);
    add_rows(first, call.x, row_elements, patch, c, warp, kWarps, sums);
    dot += weighted(weights, sums);
  }
  dot = warp_sum(dot);
  if (lane == 0) partial[warp] = dot;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kWarps; ++i) dot += partial[i];
  decide(call.target, patch, rule, dot);
}

template <class T>
void launch_masker(Stream& stream, const MaskerCall& call) {
  const ListGeometry& g = call.geometry;
  int64_t patches = int64_t{g.images} * g.patches();
  LaunchShape small{ceil_div(patches, kWarps), kThreads};
  const int side = g.granularity * g.stride;
  switch (is_small_patch(side) ? side : 0) {
    case 1:
      return launch(stream, small_patches_kernel<T, 1>, small, call);
    case 2:
      return launch(stream, small_patches_kernel<T, 2>, small, call);
    case 4:
      return launch(stream, small_patches_kernel<T, 4>, small, call);
    default:
      return launch(stream, large_patches_kernel<T>,
                    LaunchShape{patches, kThreads, kWarps * static_cast<int>(sizeof(float))}, call);
  }
}

}  // namespace

void masker(Stream& stream, Precision precision, const MaskerCall& call) {
  if (precision == Precision::fp16) return launch_masker<Half>(stream, call);
  if (precision == Precision::bf16) return launch_masker<BFloat16>(stream, call);
  launch_masker<float>(stream, call);
}

}  // namespace lasnet::cuda
