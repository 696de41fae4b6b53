#pragma once

// What tests of single CUDA kernels hand to them, in the emulated device's memory.

#include <cstdint>
#include <vector>

#include "backends/cuda/kernels/kernels.h"
#include "base/random.h"
#include "cuda_emulation.h"
#include "lasnet/tensor.h"
#include "mask/active_lists.h"
#include "support/random_model.h"

namespace lasnet::cuda {

using test::random_tensor;

inline constexpr Precision kPrecisions[] = {Precision::fp32, Precision::tf32, Precision::fp16,
                                            Precision::bf16};

/// Both extremes of the timing of copies and products, both orders of the threads, few and many blocks at
/// once.
inline const emulation::Settings kSettings[] = {
    {.late_copies = true, .descending = false},
    {.late_copies = false, .descending = true, .resident_blocks = 3},
    {.late_copies = true, .late_products = false, .descending = true, .resident_blocks = 2},
    {.late_copies = false, .late_products = false, .descending = false, .multiprocessors = 1}};

/// Restores the emulation's settings.
struct WithSettings {
  explicit WithSettings(emulation::Settings wanted) : saved(emulation::settings()) {
    emulation::settings() = wanted;
  }
  ~WithSettings() { emulation::settings() = saved; }
  emulation::Settings saved;
};

/// Largest relative rounding error of a stored value.
double rounding(Precision precision);

/// The value that one element of a map in `precision` stands for.
float element(const uint8_t* bytes, Precision precision);

/// A bordered map in a precision. TF32 maps hold whole floats.
struct Map {
  MapSize size;
  int64_t images;
  int channels, pitch;
  Precision precision;
  DeviceBuffer buffer;

  /// Of [n, height, width, channels].
  Map(const Tensor& x, Precision p);

  DeviceMap device() const;
  float at(int64_t index, int channel) const;
  Tensor tensor() const;
  void expect_zero_border() const;
};

/// A list in memory, exactly as long as it is.
struct List {
  std::vector<int32_t> in, out, begin;

  DeviceList device() { return {in.data(), out.data(), begin.data()}; }
};

/// Buffers of a ListCall.
struct Lists {
  ListGeometry g;
  std::vector<uint8_t> patches;
  std::vector<List> lists;
  std::vector<std::vector<int32_t>> masked;
  std::vector<std::vector<unsigned long long>> cells;
  std::vector<unsigned long long> launches;
  ListCall call;

  Lists(const ListGeometry& geometry, std::vector<uint8_t> decisions);
  /// Asks for one more list; images with `whole_from` active patches or more are listed whole.
  void add(ListKind kind, int whole_from = 1 << 30);
};

/// A block that computes patches of side `granularity` of its output from `input`. The stride lies in its
/// second convolution if `dilation_stride` is `stride`, before that if it is 1.
BlockGeometry block_geometry(MapSize input, int stride, int dilation_stride, int granularity);

/// Of `images` maps of that block.
ListGeometry list_geometry(int images, MapSize input, int stride, int dilation_stride, int granularity);

}  // namespace lasnet::cuda
