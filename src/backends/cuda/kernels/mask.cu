// Patch decisions -> lists of pixels, on the device.
//
//   M(n, y, x) = patches(n, y / S, x / S),  D = the pixels that 3x3 windows at M read,  lists = {pixels in
//   order}
//
// One launch for all lists of a block, one pass over each. A block of threads takes a chunk of an image's
// units: 32 neighbours in a row, a word of bits. Rows that the same patches decide about share words: most
// warps make those of the rows of patches that the chunk depends on, reading the decisions directly (no mask
// is ever stored). One warp combines them to the words of the chunk's units, counts, and learns how much lies
// before from the chunks before it (look_back.h); all warps then write entries. So the order is that of the
// pixels, whatever ran first. What needs divisions is worked out per row and per column of a word, never per
// pixel, and before the kernel's predecessor has ended.
#include <algorithm>

#include "backends/cuda/kernels/device.h"
#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/look_back.h"

namespace lasnet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kDeciders = kWarps - 1;  ///< warps that make words; the first one counts
constexpr int kWordsReady = 1;         ///< barrier of both, which they reach in different places
constexpr int kLaneUnits = kChunkUnits / 32;
static_assert(kUnitPixels == 32 && kChunkUnits % 32 == 0);

/// How the map of a list is cut up.
struct ListCut {
  Divisor row_units = 1;     ///< units of a row
  Divisor image_chunks = 1;  ///< chunks of an image
  Divisor columns = 1;       ///< of a chunk's words, made at once
};

struct ListWork {
  ListCall call;
  ListCut cuts[kMaxTargets];
};

/// A chunk's units are in at most (kChunkUnits - 2) / W + 2 rows of W, two rows of patches more decide about
/// them, and there are min(W, kChunkUnits) words of each.
constexpr int kMaxWords = 5 * kChunkUnits;

/// What a unit lists: the pixels of its word, and the place and the pixels of its first entry.
struct alignas(16) Unit {
  unsigned listed;
  int before;  ///< entries of the chunk
  PixelPair first;
};

struct Shared {
  Unit units[kChunkUnits];
  unsigned masked[kChunkUnits];  ///< what the mask says of them
  unsigned words[kMaxWords];     ///< whether a row of patches is active at a pixel's columns
  int active_patches[kWarps];    ///< that a decider has found
  int before;                    ///< entries of the list
};

__device__ unsigned lowest_bits(int count) {
  if (count <= 0) return 0;
  return count < 32 ? (1u << count) - 1 : kWholeWarp;
}

/// A lane's unit of a chunk.
struct Place {
  unsigned pixels;   ///< that it has
  unsigned decided;  ///< those that patches decide about
  int words[3];      ///< of the rows of patches that do
  PixelPair first;

  __device__ unsigned masked(const Shared& shared) const {
    return (shared.words[words[0]] | shared.words[words[1]] | shared.words[words[2]]) & decided;
  }
};

/// Successive units of an image. Its words are [rows of patches that decide about it][columns]: the columns
/// are the units of a row, as far as the chunk has them, from its first unit's on and round the row's end.
class Chunk {
 public:
  __device__ Chunk(const ListWork& work, Shared& shared)
      : call_(work.call),
        target_(call_.targets[blockIdx.y]),
        shared_(shared),
        cut_(work.cuts[blockIdx.y]),
        index_(static_cast<int>(blockIdx.x)) {
    const ListGeometry& g = call_.geometry;
    chunks_ = g.images * cut_.image_chunks;
    image_ = index_ / cut_.image_chunks;
    width_ = domain_width(g, target_.kind), height_ = domain_height(g, target_.kind);
    int first = (index_ - image_ * cut_.image_chunks) * kChunkUnits;
    units_ = least(kChunkUnits, height_ * cut_.row_units - first);
    first_row_ = first / cut_.row_units, first_column_ = first - first_row_ * cut_.row_units;
    columns_ = least(cut_.row_units, kChunkUnits);
    patch_rows_ = row_span(g, target_.kind, first_row_, (first + units_ - 1) / cut_.row_units);
    step_ = input_step(g, target_.kind);
  }

  /// Of the list; the grid has blocks enough for the longest.
  __device__ bool exists() const { return index_ < chunks_; }

  /// Makes the words, by all warps but the first. Columns are dealt to them, or parts of columns if there are
  /// few.
  __device__ void decide() {
    constexpr int kRows = 3;  // that are read at once
    const ListGeometry& g = call_.geometry;
    int decider = warp_index() - 1, part = decider / cut_.columns, parts = kDeciders / cut_.columns;
    int column = decider - part * cut_.columns;
    int rows = patch_rows_.last - patch_rows_.first + 1;
    wait_for_predecessor();
    if (call_.patches == nullptr) return;
    count_patches();
    if (part == parts) return;
    const uint8_t* top = call_.patches + (image_ * g.patch_rows + patch_rows_.first) * g.patch_cols;
    for (; column < columns_; column += cut_.columns) {
      PatchSpan span = column_span(g, target_.kind, pixel_of(column));
      bool is_decided = !span.is_empty();
      if (!is_decided) span = {0, 0};
      for (int row = part; row < rows; row += kRows * parts) {
        int active[kRows][3];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const uint8_t* patches = top + least(row + i * parts, rows - 1) * g.patch_cols;
          active[i][0] = patches[span.first];
          active[i][1] = patches[(span.first + span.last) / 2];
          active[i][2] = patches[span.last];
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          bool any = (active[i][0] | active[i][1] | active[i][2]) != 0;
          unsigned word = __ballot_sync(kWholeWarp, any && is_decided);
          int own = row + i * parts;
          if (lane_index() == i && own < rows) shared_.words[own * columns_ + column] = word;
        }
      }
    }
  }

  /// Lists the units' pixels, by the first warp.
  __device__ void count() {
    bool is_masked = call_.patches != nullptr;
    bool is_whole = !is_masked || inverts();  // what lies before is known
    Place places[kLaneUnits];
#pragma unroll
    for (int i = 0; i < kLaneUnits; ++i) places[i] = place(lane_index() * kLaneUnits + i);
    wait_for_predecessor();
    LookBack look_back(target_.progress, index_, chunks_);
    if (!is_whole) look_back.start();
    sync_threads_of(kWordsReady, kThreads);
    bool is_full = is_whole || has_enough_patches();
    Unit units[kLaneUnits];
    int listed = 0, masked = 0;
#pragma unroll
    for (int i = 0; i < kLaneUnits; ++i) {
      unsigned word = is_masked ? places[i].masked(shared_) : places[i].pixels;
      units[i] = {is_full ? places[i].pixels : word, listed, places[i].first};
      listed += __popc(units[i].listed);
      masked += __popc(word);
      shared_.masked[lane_index() * kLaneUnits + i] = word;
    }
    int up_to = warp_sum_up_to(listed), all = __shfl_sync(kWholeWarp, up_to, 31);
#pragma unroll
    for (int i = 0; i < kLaneUnits; ++i) {
      units[i].before += up_to - listed;
      shared_.units[lane_index() * kLaneUnits + i] = units[i];
    }
    int before = is_whole ? pixels_before() : look_back.before(all);
    masked = is_full ? warp_sum(masked) : all;
    if (lane_index() != 0) return;
    shared_.before = before;
    if (target_.mask_counts != nullptr) target_.mask_counts[index_] = masked;
    if (first_row_ == 0 && first_column_ == 0) target_.list.image_begin[image_] = before;
    if (index_ == chunks_ - 1) target_.list.image_begin[call_.geometry.images] = before + all;
  }

  /// A warp per unit, a lane per pixel.
  template <bool kInverts>
  __device__ void write() const {
    int before = shared_.before, step = lane_index() * step_;
    unsigned own = 1u << lane_index();
    for (int i = warp_index(); i < units_; i += kWarps) {
      Unit unit = shared_.units[i];
      if ((unit.listed & own) == 0) continue;
      int entry = before + unit.before + __popc(unit.listed & (own - 1));
      int pixel = unit.first.out + lane_index();
      if (kInverts && (shared_.masked[i] & own) != 0) pixel = ~pixel;
      target_.list.in[entry] = unit.first.in + step;
      target_.list.out[entry] = pixel;
    }
  }
  __device__ bool inverts() const { return target_.kind == ListKind::projected; }

 private:
  /// This lane's pixel of a column, or the row's last one.
  __device__ int pixel_of(int column) const {
    int unit = first_column_ + column;
    if (unit >= cut_.row_units) unit -= cut_.row_units;
    return least(unit * kUnitPixels + lane_index(), width_ - 1);
  }

  __device__ int pixels_before() const {
    return (image_ * height_ + first_row_) * width_ + first_column_ * kUnitPixels;
  }

  /// Of the image's patches, how many are active: the deciders' parts.
  __device__ void count_patches() {
    int patches = call_.geometry.patches(), active = 0;
    if (target_.whole_from_patches > patches) return;
    const uint8_t* own = call_.patches + image_ * patches;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) - 32; i < patches; i += kDeciders * 32) active += own[i] != 0;
    active = warp_sum(active);
    if (lane_index() == 0) shared_.active_patches[warp_index() - 1] = active;
  }
  __device__ bool has_enough_patches() const {
    if (target_.whole_from_patches > call_.geometry.patches()) return false;
    int active = warp_sum(lane_index() < kDeciders ? shared_.active_patches[lane_index()] : 0);
    return active >= target_.whole_from_patches;
  }

  __device__ Place place(int unit) const {
    const ListGeometry& g = call_.geometry;
    bool exists = unit < units_;
    int from_row = first_column_ + (exists ? unit : 0), rows = from_row / cut_.row_units;
    int row = first_row_ + rows, row_unit = from_row - rows * cut_.row_units;
    int column = row_unit - first_column_;
    if (column < 0) column += cut_.row_units;
    Place place;
    PatchSpan span = row_span(g, target_.kind, row, row);
    place.pixels = exists ? lowest_bits(width_ - row_unit * kUnitPixels) : 0;
    place.decided = span.is_empty() ? 0 : place.pixels;
    if (span.is_empty()) span = {patch_rows_.first, patch_rows_.first};
    int between[3] = {span.first, (span.first + span.last) / 2, span.last};
#pragma unroll
    for (int i = 0; i < 3; ++i) place.words[i] = (between[i] - patch_rows_.first) * columns_ + column;
    place.first = pixel_pair(g, target_.kind, image_, row, row_unit * kUnitPixels);
    return place;
  }

  const ListCall& call_;
  const ListTarget& target_;
  Shared& shared_;
  const ListCut& cut_;
  int index_, chunks_;  ///< of the list
  int image_, units_, width_, height_;
  int first_row_, first_column_, columns_, step_;
  PatchSpan patch_rows_;
};

__global__ void __launch_bounds__(kThreads) list_kernel(ListWork work) {
  let_successor_start();
  Chunk chunk(work, *shared_memory<Shared>());
  if (!chunk.exists()) return wait_for_predecessor();
  if (warp_index() == 0) {
    chunk.count();
  } else {
    chunk.decide();
    sync_threads_of(kWordsReady, kThreads);
  }
  __syncthreads();
  chunk.inverts() ? chunk.write<true>() : chunk.write<false>();
}

}  // namespace

void build_lists(Stream& stream, const ListCall& call) {
  ListWork work{call, {}};
  int chunks = 0;
  for (int i = 0; i < call.count; ++i) {
    ListKind kind = call.targets[i].kind;
    int row_units = units_per_row(domain_width(call.geometry, kind));
    work.cuts[i] = {row_units, chunks_per_image(call.geometry, kind), std::min(row_units, kDeciders)};
    chunks = std::max<int>(chunks, work.cuts[i].image_chunks);
  }
  launch(stream, list_kernel,
         LaunchShape{int64_t{call.geometry.images} * chunks, kThreads, sizeof(Shared), call.count}, work);
}

}  // namespace lasnet::cuda
