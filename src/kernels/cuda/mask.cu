// Patch decisions -> lists of pixels, on the device.
//
//   M(n, y, x) = patches(n, y / S, x / S),  D = the pixels that 3x3 windows at M read,  lists = {pixels in
//   order}
//
// One launch for all lists of a block, one pass over each. A block of threads takes a chunk of an image's
// pixels, counts what the list takes of them, and learns how much lies before from the chunks before it
// (look_back.h). Within a chunk pixels are ranked by warp ballots. So the order is that of the pixels,
// whatever ran first. A pixel's flag is read from the patch decisions directly: no mask is ever stored. Which
// patches decide about a row or a column is worked out once per chunk (list_geometry.h), divisions being most
// of the work.
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/look_back.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRounds = kChunkPixels / kThreads;  ///< pixels per thread
static_assert(kChunkPixels % kThreads == 0);

using ListLookBack = LookBack<kThreads>;

/// Shared memory of a block; the spans of rows and columns follow it.
struct Shared {
  ListLookBack::Shared look_back;
  int votes[kRounds * kWarps];  ///< of each warp, in order of its pixels
};

__device__ int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ int lane_index() { return thread_index() % 32; }
__device__ int warp_index() { return thread_index() / 32; }

__device__ int block_sum(int value, Shared& shared) {
  return ListLookBack::block_sum(value, shared.look_back);
}

/// A chunk's place, and the patches that decide about its map's rows and columns.
class Chunk {
 public:
  /// By all threads; ends with a barrier.
  __device__ Chunk(const ListCall& call, ListKind kind, int index, Shared& shared)
      : call_(call), kind_(kind), rows_(reinterpret_cast<PatchSpan*>(&shared + 1)) {
    const ListGeometry& g = call.geometry;
    int per_image = chunks_per_image(g, kind), height = domain_height(g, kind);
    width_ = domain_width(g, kind);
    columns_ = rows_ + chunk_rows(g, kind);
    image_ = per_image == 1 ? index : index / per_image;
    first_ = (index - image_ * per_image) * kChunkPixels;
    pixels_ = height * width_;
    inverse_width_ = 1.0f / static_cast<float>(width_);
    if (call.patches != nullptr) {
      patches_ = call.patches + static_cast<int64_t>(image_) * g.patches();
      first_row_ = first_ / width_;
      int rows = least(chunk_rows(g, kind), height - first_row_);
      for (int i = thread_index(); i < rows; i += kThreads) rows_[i] = row_span(g, kind, first_row_ + i);
      for (int i = thread_index(); i < chunk_columns(g, kind); i += kThreads)
        columns_[i] = column_span(g, kind, i);
    }
    __syncthreads();
  }

  __device__ int image() const { return image_; }
  __device__ bool is_first_of_image() const { return first_ == 0; }

  /// This thread's pixel of a round.
  __device__ bool has_pixel(int round) const { return pixel(round) < pixels_; }
  __device__ bool is_masked_in(int round) const {
    if (!has_pixel(round)) return false;
    if (patches_ == nullptr) return true;
    int y = quotient(pixel(round), width_, inverse_width_), x = pixel(round) - y * width_;
    PatchSpan column = width_ <= kChunkPixels ? columns_[x] : column_span(call_.geometry, kind_, x);
    return any_active(call_.geometry, patches_, rows_[y - first_row_], column);
  }
  __device__ PixelPair pair(int round) const {
    int y = quotient(pixel(round), width_, inverse_width_), x = pixel(round) - y * width_;
    return pixel_pair(call_.geometry, kind_, image_, y, x);
  }
  /// Its number among all pixels.
  __device__ int entry(int round) const { return image_ * pixels_ + pixel(round); }

 private:
  __device__ int pixel(int round) const { return first_ + round * kThreads + thread_index(); }

  const ListCall& call_;
  ListKind kind_;
  PatchSpan *rows_, *columns_;
  const uint8_t* patches_ = nullptr;  ///< of the image; null: all active
  int image_, first_, pixels_, width_, first_row_ = 0;
  float inverse_width_;
};

/// Whether an image lists every pixel because enough of its patches are active.
__device__ bool lists_everything(const ListCall& call, const ListTarget& target, int image, Shared& shared) {
  if (call.patches == nullptr) return true;
  int patches = call.geometry.patches();
  if (target.whole_from_patches > patches) return false;  // the same in every thread
  const uint8_t* own = call.patches + static_cast<int64_t>(image) * patches;
  int active = 0;
  for (int i = thread_index(); i < patches; i += kThreads) active += own[i] != 0;
  return block_sum(active, shared) >= target.whole_from_patches;
}

__device__ void write_projected(const ListCall& call, const ListTarget& target, int index, Shared& shared) {
  const ListGeometry& g = call.geometry;
  Chunk chunk(call, target.kind, index, shared);
  for (int round = 0; round < kRounds; ++round) {
    if (!chunk.has_pixel(round)) break;
    PixelPair pair = chunk.pair(round);
    target.list.in[chunk.entry(round)] = pair.in;
    target.list.out[chunk.entry(round)] = chunk.is_masked_in(round) ? ~pair.out : pair.out;
  }
  int per_image = g.output_height * g.output_width;
  if (thread_index() != 0) return;
  target.list.image_begin[chunk.image()] = chunk.image() * per_image;
  if (chunk.image() == g.images - 1) target.list.image_begin[g.images] = g.images * per_image;
}

/// Listed pixels of a chunk: this warp's votes and the number of those before them, per round; and all.
struct Votes {
  unsigned listed[kRounds];
  int before[kRounds];
  int all;
};

__device__ void count_votes(Votes& votes, Shared& shared) {
  if (lane_index() == 0) {
    for (int round = 0; round < kRounds; ++round)
      shared.votes[round * kWarps + warp_index()] = __popc(votes.listed[round]);
  }
  __syncthreads();
  static_assert(kRounds * kWarps == 32);  // a lane for each
  int own = shared.votes[lane_index()];
  for (int round = 0; round < kRounds; ++round)
    votes.before[round] = warp_sum(lane_index() < round * kWarps + warp_index() ? own : 0);
  votes.all = warp_sum(own);
  __syncthreads();
}

__device__ void write_listed(const ListCall& call, const ListTarget& target, int chunks, Shared& shared) {
  ListLookBack look_back(target.progress, shared.look_back);
  int index = look_back.take(chunks), masked = 0;
  Chunk chunk(call, target.kind, index, shared);
  bool everything = lists_everything(call, target, chunk.image(), shared);
  Votes votes;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    bool in_mask = chunk.is_masked_in(round);
    masked += in_mask;
    votes.listed[round] = __ballot_sync(kWholeWarp, in_mask || (everything && chunk.has_pixel(round)));
  }
  count_votes(votes, shared);
  int before = look_back.before(votes.all);
  if (target.mask_counts != nullptr) {
    masked = everything ? block_sum(masked, shared) : votes.all;
    if (thread_index() == 0) target.mask_counts[index] = masked;
  }
  if (thread_index() == 0) {
    if (chunk.is_first_of_image()) target.list.image_begin[chunk.image()] = before;
    if (index == chunks - 1) target.list.image_begin[call.geometry.images] = before + votes.all;
  }
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    if ((votes.listed[round] >> lane_index() & 1) == 0) continue;
    PixelPair pair = chunk.pair(round);
    int entry = before + votes.before[round] + __popc(votes.listed[round] & ((1u << lane_index()) - 1));
    target.list.in[entry] = pair.in;
    target.list.out[entry] = pair.out;
  }
}

__global__ void __launch_bounds__(kThreads) list_kernel(ListCall call) {
  begin_kernel();
  Shared& shared = *shared_memory<Shared>();
  const ListTarget& target = call.targets[blockIdx.y];
  int chunks = call.geometry.images * chunks_per_image(call.geometry, target.kind);
  auto block = static_cast<int>(blockIdx.x);
  if (block >= chunks) return;
  if (target.kind == ListKind::projected) return write_projected(call, target, block, shared);
  write_listed(call, target, chunks, shared);
}

}  // namespace

void build_lists(Stream& stream, const ListCall& call) {
  int chunks = 0, spans = 0;
  for (int i = 0; i < call.count; ++i) {
    ListKind kind = call.targets[i].kind;
    int own = chunks_per_image(call.geometry, kind);
    int own_spans = chunk_rows(call.geometry, kind) + chunk_columns(call.geometry, kind);
    chunks = own > chunks ? own : chunks;
    spans = own_spans > spans ? own_spans : spans;
  }
  auto shared = static_cast<int64_t>(sizeof(Shared) + spans * sizeof(PatchSpan));
  launch(stream, list_kernel,
         LaunchShape{int64_t{call.geometry.images} * chunks, kThreads, shared, call.count}, call);
}

}  // namespace lasnet::cuda
