// Patch decisions -> lists of pixels, on the device.
//
//   M(n, y, x) = patches(n, y / S, x / S),  D = the pixels that 3x3 windows at M read,  lists = {pixels in
//   order}
//
// Two launches for all lists of a block. The first counts, per chunk of 256 pixels of one image, how many the
// list takes. In the second every chunk sums the counts before it and writes its pixels from there, ranked by
// warp ballots and a scan over the block's eight warps. So the order is that of the pixels, whatever ran
// first. A pixel's flag is read from the patch decisions directly (list_geometry.h): no mask is ever stored.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = kChunkPixels;
constexpr int kWarps = kThreads / 32;

/// Sum of a value over the block, in every thread. `partial`: shared [kWarps].
__device__ int block_sum(int value, int* partial) {
  int warp = static_cast<int>(threadIdx.x) / 32;
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) partial[warp] = value;
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < kWarps; ++i) sum += partial[i];
  __syncthreads();
  return sum;
}

/// A thread's pixel in a chunk.
struct Place {
  int image, y, x;
  bool inside;
};

__device__ Place place_of(const ListGeometry& g, ListKind kind, int chunk) {
  int per_image = chunks_per_image(g, kind), width = domain_width(g, kind);
  int pixel = chunk % per_image * kChunkPixels + static_cast<int>(threadIdx.x);
  return {chunk / per_image, pixel / width, pixel % width, pixel < width * domain_height(g, kind)};
}

/// Whether the image at hand lists every pixel because enough of its patches are active.
__device__ bool lists_everything(const ListCall& call, const ListTarget& target, int image, int* partial) {
  if (call.patches == nullptr) return true;
  int patches = call.geometry.patches();
  if (target.whole_from_patches > patches) return false;  // the same in every thread
  const uint8_t* own = call.patches + static_cast<int64_t>(image) * patches;
  int active = 0;
  for (int i = static_cast<int>(threadIdx.x); i < patches; i += kThreads) active += own[i] != 0;
  return block_sum(active, partial) >= target.whole_from_patches;
}

__device__ bool masked_in(const ListCall& call, ListKind kind, const Place& place) {
  if (!place.inside) return false;
  if (call.patches == nullptr) return true;
  const ListGeometry& g = call.geometry;
  return is_masked_in(g, kind, call.patches + static_cast<int64_t>(place.image) * g.patches(), place.y,
                      place.x);
}

__global__ void __launch_bounds__(kThreads) count_kernel(ListCall call) {
  int* partial = shared_memory<int>();
  const ListTarget& target = call.targets[blockIdx.y];
  int chunk = static_cast<int>(blockIdx.x);
  if (target.kind == ListKind::projected ||
      chunk >= call.geometry.images * chunks_per_image(call.geometry, target.kind))
    return;
  Place place = place_of(call.geometry, target.kind, chunk);
  bool everything = lists_everything(call, target, place.image, partial);
  bool in_mask = masked_in(call, target.kind, place);
  int masked = block_sum(in_mask, partial);
  int listed = block_sum(in_mask || (everything && place.inside), partial);
  if (threadIdx.x != 0) return;
  target.chunk_counts[chunk] = listed;
  if (target.mask_counts != nullptr) target.mask_counts[chunk] = masked;
}

/// Entries before this chunk.
__device__ int entries_before(const ListTarget& target, int chunk, int* partial) {
  int before = 0;
  for (int i = static_cast<int>(threadIdx.x); i < chunk; i += kThreads) before += target.chunk_counts[i];
  return block_sum(before, partial);
}

/// Flagged threads before this one. `partial`: shared [kWarps].
__device__ int rank_in_block(bool flag, int* partial) {
  unsigned votes = __ballot_sync(kWholeWarp, flag);
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  if (lane == 0) partial[warp] = __popc(votes);
  __syncthreads();
  int rank = __popc(votes & ((1u << lane) - 1));
  for (int i = 0; i < warp; ++i) rank += partial[i];
  return rank;
}

__device__ void write_projected(const ListCall& call, const ListTarget& target, int chunk) {
  const ListGeometry& g = call.geometry;
  Place place = place_of(g, target.kind, chunk);
  int per_image = g.output_height * g.output_width;
  if (place.inside) {
    PixelPair pair = pixel_pair(g, target.kind, place.image, place.y, place.x);
    int entry = place.image * per_image + place.y * g.output_width + place.x;
    target.list.in[entry] = pair.in;
    target.list.out[entry] = masked_in(call, target.kind, place) ? ~pair.out : pair.out;
  }
  if (threadIdx.x == 0) target.list.image_begin[place.image] = place.image * per_image;
  if (threadIdx.x == 0 && place.image == g.images - 1)
    target.list.image_begin[g.images] = g.images * per_image;
}

__global__ void __launch_bounds__(kThreads) write_kernel(ListCall call) {
  int* partial = shared_memory<int>();
  const ListGeometry& g = call.geometry;
  const ListTarget& target = call.targets[blockIdx.y];
  int chunk = static_cast<int>(blockIdx.x), per_image = chunks_per_image(g, target.kind);
  if (chunk >= g.images * per_image) return;
  if (target.kind == ListKind::projected) return write_projected(call, target, chunk);
  Place place = place_of(g, target.kind, chunk);
  bool everything = lists_everything(call, target, place.image, partial);
  bool flag = place.inside && (everything || masked_in(call, target.kind, place));
  int before = entries_before(target, chunk, partial);
  int entry = before + rank_in_block(flag, partial);
  if (flag) {
    PixelPair pair = pixel_pair(g, target.kind, place.image, place.y, place.x);
    target.list.in[entry] = pair.in;
    target.list.out[entry] = pair.out;
  }
  if (threadIdx.x != 0) return;
  if (chunk % per_image == 0) target.list.image_begin[place.image] = before;
  if (chunk == g.images * per_image - 1)
    target.list.image_begin[g.images] = before + target.chunk_counts[chunk];
}

}  // namespace

void build_lists(Stream& stream, const ListCall& call) {
  int chunks = 0;
  for (int i = 0; i < call.count; ++i) {
    int own = chunks_per_image(call.geometry, call.targets[i].kind);
    chunks = own > chunks ? own : chunks;
  }
  LaunchShape shape{int64_t{call.geometry.images} * chunks, kThreads, kWarps * static_cast<int>(sizeof(int)),
                    call.count};
  launch(stream, count_kernel, shape, call);
  launch(stream, write_kernel, shape, call);
}

}  // namespace lasnet::cuda
