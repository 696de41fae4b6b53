// Patch decisions -> lists of pixels, on the device.
//
//   M(n, y, x) = patches(n, y / S, x / S),  D = the pixels that 3x3 windows at M read,  lists = {pixels in
//   order}
//
// One launch for all lists of a block, one pass over each. A block of threads takes a chunk of an image's
// pixels, counts what the list takes of them, and learns how much lies before from the chunks before it: each
// publishes its own count at once and, when it knows it, the sum up to and with it (decoupled look-back,
// after Merrill and Garland 2016). Chunks are dealt by a ticket, so that a block waits for started blocks
// only. Within a chunk pixels are ranked by warp ballots. So the order is that of the pixels, whatever ran
// first. A pixel's flag is read from the patch decisions directly (list_geometry.h): no mask is ever stored.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace lasnet::cuda {
namespace {

/// Shared memory of a block.
struct Shared {
  int partial[32];  ///< of each warp
  int ticket;
};

/// What a chunk has published: a state above a number of entries.
enum : unsigned { kNothing = 0, kOwnCount = 1, kUpToHere = 2 };
__device__ unsigned long long published(unsigned state, int entries) {
  return static_cast<unsigned long long>(state) << 32 | static_cast<unsigned>(entries);
}

__device__ int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ int thread_count() { return static_cast<int>(blockDim.x); }
__device__ int lane_index() { return thread_index() % 32; }
__device__ int warp_index() { return thread_index() / 32; }

/// What each warp has left in `partial`, one to a lane.
__device__ int of_warp(const Shared& shared, int otherwise) {
  return lane_index() < thread_count() / 32 ? shared.partial[lane_index()] : otherwise;
}

/// Sum of a value over the block, in every thread.
__device__ int block_sum(int value, Shared& shared) {
  value = warp_sum(value);
  if (lane_index() == 0) shared.partial[warp_index()] = value;
  __syncthreads();
  int sum = warp_sum(of_warp(shared, 0));
  __syncthreads();
  return sum;
}

__device__ int warp_min(int value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    int other = __shfl_xor_sync(kWholeWarp, value, distance);
    value = other < value ? other : value;
  }
  return value;
}

/// Least value over the block, in every thread.
__device__ int block_min(int value, Shared& shared) {
  value = warp_min(value);
  if (lane_index() == 0) shared.partial[warp_index()] = value;
  __syncthreads();
  int least = warp_min(of_warp(shared, value));
  __syncthreads();
  return least;
}

/// A pixel of a chunk.
struct Place {
  int image, y, x;
  bool inside;
};

/// The pixel that this thread takes.
__device__ Place place_of(const ListGeometry& g, ListKind kind, int chunk) {
  int per_image = chunks_per_image(g, kind), width = domain_width(g, kind);
  int pixel = chunk % per_image * thread_count() + thread_index();
  return {chunk / per_image, pixel / width, pixel % width, pixel < width * domain_height(g, kind)};
}

/// Whether an image lists every pixel because enough of its patches are active.
__device__ bool lists_everything(const ListCall& call, const ListTarget& target, int image, Shared& shared) {
  if (call.patches == nullptr) return true;
  int patches = call.geometry.patches();
  if (target.whole_from_patches > patches) return false;  // the same in every thread
  const uint8_t* own = call.patches + static_cast<int64_t>(image) * patches;
  int active = 0;
  for (int i = thread_index(); i < patches; i += thread_count()) active += own[i] != 0;
  return block_sum(active, shared) >= target.whole_from_patches;
}

__device__ bool masked_in(const ListCall& call, ListKind kind, const Place& place) {
  if (!place.inside) return false;
  if (call.patches == nullptr) return true;
  const ListGeometry& g = call.geometry;
  return is_masked_in(g, kind, call.patches + static_cast<int64_t>(place.image) * g.patches(), place.y,
                      place.x);
}

/// Entries of the chunks before this one.
__device__ int entries_before(const ListTarget& target, int chunk, Shared& shared) {
  int before = 0;
  for (int last = chunk - 1; last >= 0; last -= thread_count()) {
    int other = last - thread_index();
    unsigned long long cell = published(kUpToHere, 0);
    if (other >= 0) {
      do {
        cell = load_volatile(target.progress.cells + other);
      } while (cell >> 32 == kNothing);
    }
    // Nearest chunk that knows the sum up to itself; thread 0 has the nearest chunk of all.
    bool knows = cell >> 32 == kUpToHere;
    int nearest = block_min(knows ? thread_index() : thread_count(), shared);
    before += block_sum(thread_index() <= nearest ? static_cast<int>(cell) : 0, shared);
    if (nearest < thread_count()) break;
  }
  return before;
}

/// The next chunk of a target that no block has taken.
__device__ int take_chunk(const ListTarget& target, int chunks, Shared& shared) {
  if (chunks == 1) return 0;
  if (threadIdx.x == 0) shared.ticket = static_cast<int>(atomicAdd(target.progress.taken, 1u));
  __syncthreads();
  return shared.ticket;
}

/// The last block to come sets everything back for the next launch.
__device__ void leave(const ListTarget& target, int chunks, Shared& shared) {
  __syncthreads();
  if (threadIdx.x == 0) shared.ticket = static_cast<int>(atomicAdd(target.progress.left, 1u));
  __syncthreads();
  if (shared.ticket != chunks - 1) return;
  for (int i = thread_index(); i < chunks; i += thread_count()) target.progress.cells[i] = 0;
  if (threadIdx.x == 0) *target.progress.taken = *target.progress.left = 0;
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
  if (threadIdx.x != 0) return;
  target.list.image_begin[place.image] = place.image * per_image;
  if (place.image == g.images - 1) target.list.image_begin[g.images] = g.images * per_image;
}

/// Flagged threads before this one, and in all.
struct Rank {
  int before, all;
};
__device__ Rank rank_in_block(bool flag, Shared& shared) {
  unsigned votes = __ballot_sync(kWholeWarp, flag);
  if (lane_index() == 0) shared.partial[warp_index()] = __popc(votes);
  __syncthreads();
  int of_lane = of_warp(shared, 0);
  int before = warp_sum(lane_index() < warp_index() ? of_lane : 0), all = warp_sum(of_lane);
  __syncthreads();
  return {before + __popc(votes & ((1u << lane_index()) - 1)), all};
}

__device__ void write_listed(const ListCall& call, const ListTarget& target, int chunks, Shared& shared) {
  const ListGeometry& g = call.geometry;
  int chunk = take_chunk(target, chunks, shared), per_image = chunks_per_image(g, target.kind);
  Place place = place_of(g, target.kind, chunk);
  bool in_mask = masked_in(call, target.kind, place);
  bool everything = lists_everything(call, target, place.image, shared);  // by all threads
  bool listed = place.inside && (in_mask || everything);
  Rank rank = rank_in_block(listed, shared);
  int masked = target.mask_counts != nullptr ? block_sum(in_mask, shared) : 0;
  if (threadIdx.x == 0) {
    if (target.mask_counts != nullptr) target.mask_counts[chunk] = masked;
    if (chunk > 0) store_volatile(target.progress.cells + chunk, published(kOwnCount, rank.all));
  }
  int before = chunk > 0 ? entries_before(target, chunk, shared) : 0;
  if (threadIdx.x == 0) {
    if (chunks > 1) store_volatile(target.progress.cells + chunk, published(kUpToHere, before + rank.all));
    if (chunk % per_image == 0) target.list.image_begin[place.image] = before;
    if (chunk == chunks - 1) target.list.image_begin[g.images] = before + rank.all;
  }
  if (listed) {
    PixelPair pair = pixel_pair(g, target.kind, place.image, place.y, place.x);
    target.list.in[before + rank.before] = pair.in;
    target.list.out[before + rank.before] = pair.out;
  }
  if (chunks > 1) leave(target, chunks, shared);
}

__global__ void __launch_bounds__(kMaxChunkPixels) list_kernel(ListCall call) {
  begin_kernel();
  Shared& shared = *shared_memory<Shared>();
  const ListTarget& target = call.targets[blockIdx.y];
  int chunks = call.geometry.images * chunks_per_image(call.geometry, target.kind);
  if (static_cast<int>(blockIdx.x) >= chunks) return;
  if (target.kind == ListKind::projected) return write_projected(call, target, static_cast<int>(blockIdx.x));
  write_listed(call, target, chunks, shared);
}

}  // namespace

void build_lists(Stream& stream, const ListCall& call) {
  int chunks = 0;
  for (int i = 0; i < call.count; ++i) {
    int own = chunks_per_image(call.geometry, call.targets[i].kind);
    chunks = own > chunks ? own : chunks;
  }
  launch(stream, list_kernel,
         LaunchShape{int64_t{call.geometry.images} * chunks, chunk_pixels(call.geometry), sizeof(Shared),
                     call.count},
         call);
}

}  // namespace lasnet::cuda
