// Activation memory and pixel lists of an int8 network for one (batch, height, width).
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/int8/executable.h"
#include "backends/cpu/map_pool.h"
#include "backends/cpu/shared_lists.h"

namespace lasnet {

/// A bordered NHWC map of bytes, four channels to a word. The border is zero from allocation and no kernel
/// writes it.
struct ByteMap {
  using Value = uint32_t;

  MapSize size;
  int64_t border = 1;
  int64_t pitch = 0;  ///< words
  AlignedArray<uint32_t> data;

  static int64_t pitch_of(int64_t channels) { return word_pitch(channels); }
  int64_t row_pixels() const { return size.width + 2 * border; }
  int64_t byte_pitch() const { return pitch * kWordBytes; }
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(data.data()); }
  const uint8_t* bytes() const { return reinterpret_cast<const uint8_t*>(data.data()); }
};

/// Sums of a map over the cells of a grid. PatchSumUse says who makes them and keeps them up to date.
struct BytePatchSums {
  using Value = int32_t;

  const ByteMap* map = nullptr;
  PatchGrid grid;
  int channels = 0;            ///< padded to the kernels' vectors
  AlignedArray<int32_t> data;  ///< [N, rows, cols, channels]

  static int64_t cell_size(const ByteMap& /*map*/, int channels) { return channels; }
  int32_t* cell(int64_t image, int64_t row, int64_t col) {
    return data.data() + ((image * grid.rows() + row) * grid.cols() + col) * channels;
  }
};

/// What Squeeze-and-Excitation of one image works on.
struct ExcitationMemory {
  std::vector<int32_t> sums;  ///< [channels, padded]
  ExcitationVectors vectors;
};

/// One block's maps and lists. Pointers are into the Int8Memory.
struct Int8BlockMemory : BlockState {
  using BlockState::BlockState;

  ByteMap* x = nullptr;                    ///< input
  std::vector<ByteMap*> inner;             ///< outputs of convs[0] ... convs[n - 2]
  ByteMap* y = nullptr;                    ///< output; x itself in an identity block
  std::vector<std::vector<int64_t>> taps;  ///< tap offsets of each of the convs, words
  std::vector<int64_t> projection_taps;
  BytePatchSums* sums = nullptr;       ///< what the masker reads; null: x itself
  BytePatchSums* kept_sums = nullptr;  ///< of y, that a later masker reads; null: none
  /// Of Squeeze-and-Excitation, for each image; empty without it.
  std::vector<ExcitationMemory> excitation;
};

struct Int8StemMemory {
  AlignedArray<uint32_t> image;  ///< a word per pixel, inside a border of zeros as the input has them
  StemPixels pixels;
  std::vector<int64_t> taps;
  ByteMap* output = nullptr;
};

class Int8Memory {
 public:
  /// Throws Error if that is more memory than there is, before it takes any.
  Int8Memory(const Int8Executable& executable, const NetworkGeometry& geometry, int64_t images);
  /// Bytes of maps and lists that it would take.
  static int64_t bytes_for(const Int8Executable& executable, const NetworkGeometry& geometry, int64_t images);
  Int8Memory(const Int8Memory&) = delete;
  Int8Memory& operator=(const Int8Memory&) = delete;

  Int8StemMemory stem;
  ByteMap* trunk = nullptr;  ///< input of the first block
  std::vector<Int8BlockMemory> blocks;
  AlignedArray<uint32_t>
      pooled;  ///< [2 N, words]: of each image the upper bytes of the means, then the lower
  AlignedArray<int32_t> head_sums;  ///< [2 N, classes padded]
  PixelList head_pixels;            ///< one "pixel" per row of `pooled`

 private:
  Int8Memory(const Int8Executable& executable, const NetworkGeometry& geometry, int64_t images,
             MemoryPass pass);
  void plan_stem(const Int8Executable& executable, const NetworkGeometry& geometry);
  void plan_block(const Int8Executable& executable, size_t index, const BlockGeometry& geometry,
                  CpuBlockProgram program, ByteMap* x);
  void plan_head(const Int8Executable& executable);

  int64_t images_;
  MemoryPass pass_;
  MapPool<ByteMap, BytePatchSums> pool_;
  SharedLists lists_;
};

}  // namespace lasnet
