// The network as a sequence of kernels on a stream: launched at once, or recorded into a graph.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/cuda_memory.h"

namespace lasnet {

/// How a network is launched.
struct CudaLaunch {
  bool dense = false;         ///< without maskers, every pixel
  bool check_finite = false;  ///< look for NaN and infinity after every layer
  /// Called before each block and after the last; may be empty.
  std::function<void(size_t index)> before_block = {};
  /// Called before and after the time that a block spends on masker and lists alone: what a first convolution
  /// that runs beside them hides does not count. May be empty.
  std::function<void(size_t index)> before_masking = {};
  std::function<void(size_t index)> after_masking = {};
};

/// A layer that was looked at, in order of CudaLayout::not_finite.
struct CudaCheckedLayer {
  std::string name;
  int channels = 0;
  MapSize map;  ///< 0 x 0: a row per image
};

class CudaNetwork {
 public:
  /// `side`: for what runs beside the rest.
  CudaNetwork(const CudaExecutable& executable, const CudaMemory& memory, cuda::Stream& stream,
              cuda::Stream& side)
      : executable_(executable), memory_(memory.layout()), stream_(stream), side_(side) {}

  /// Lists of every pixel: once per memory.
  void build_full_lists();
  void launch(const CudaLaunch& launch);
  const std::vector<CudaCheckedLayer>& checked_layers() const { return checked_; }

 private:
  void run_stem();
  void run_block(size_t index);
  void run_head();
  /// Masker and lists of a block that follows its masks.
  void decide(size_t index, cuda::Stream& stream);
  void run_masker(size_t index, cuda::Stream& stream);
  cuda::MaskerTarget masker_target(size_t index) const;
  /// `done`: convolutions that have run.
  void run_body(size_t index, const CudaLists& lists, bool sparse, int done);
  void run_second(size_t index, const CudaLists& lists, bool sparse);
  void run_last(size_t index, const CudaLists& lists, bool sparse);
  void squeeze_excite(size_t index, const CudaLists& lists);

  /// A convolution from map to map over a list that may hold up to `max_pixels`, of which `rate` are
  /// expected.
  struct Layer {
    const CudaConv& conv;
    cuda::DeviceMap in, out;
    cuda::DeviceList list;
    int64_t max_pixels;
    double rate;
    cuda::Epilogue epilogue;
  };
  cuda::ConvCall conv_call(const Layer& layer) const;
  void run_conv(const Layer& layer, cuda::ConvCall call);
  void run_layer(const Layer& layer);
  void check(const CudaCheckedLayer& layer, Precision precision, int64_t max_pixels, cuda::FiniteCall call);

  Layer first_layer(size_t index, const cuda::DeviceList& list, double rate) const;
  /// The 3x3 that reads the middle map, or the patches gathered from it.
  Layer windowed_layer(size_t index, size_t conv, const CudaLists& lists, bool sparse);

  int64_t middle_pixels(size_t index) const;
  int64_t output_pixels(size_t index) const;
  int64_t bordered_bytes(const cuda::DeviceMap& map) const;

  const CudaExecutable& executable_;
  const CudaLayout& memory_;
  cuda::Stream &stream_, &side_;
  CudaLaunch launch_;
  std::vector<CudaCheckedLayer> checked_;
};

}  // namespace lasnet
