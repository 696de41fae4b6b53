// Executes a network's program (backends/cuda/program.h) on a stream: launched at once, or recorded into a
// graph.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backends/cuda/memory.h"

namespace lasnet {

/// How a network is launched.
struct CudaLaunch {
  CudaMode mode;
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
      : executable_(executable), memory_(memory), layout_(memory.layout()), stream_(stream), side_(side) {}

  /// Lists of every pixel: once per memory.
  void build_full_lists();
  void launch(const CudaLaunch& launch);
  const std::vector<CudaCheckedLayer>& checked_layers() const { return checked_; }

 private:
  /// `index`: of the block that the program is of, or is next to.
  void run(const cuda::BlockProgram& program, size_t index);
  void run(const cuda::Operation& operation, cuda::Stream& stream);
  void prepare_image();
  void run_conv(const cuda::Operation& operation);
  void run_masker_group(const cuda::Operation& operation, cuda::Stream& stream);
  void build_lists(const cuda::Operation& operation, cuda::Stream& stream);
  void excite();
  void run_head();
  /// Copies the map that so many blocks come before, if the mode asks for it.
  void return_map(size_t blocks);
  void check(const CudaCheckedLayer& layer, Precision precision, int64_t max_pixels, cuda::FiniteCall call);

  /// Of the block that runs.
  const CudaBlockMemory& block() const { return layout_.blocks[index_]; }
  const CudaConv& conv_of(cuda::ConvName role) const;
  cuda::DeviceMap map_of(cuda::MapName role) const;
  cuda::DeviceList list_of(const cuda::PixelSet& over) const;
  int64_t most_pixels(cuda::ListKind list) const;
  cuda::MaskerTarget masker_target(size_t index) const;
  int64_t bordered_bytes(const cuda::DeviceMap& map) const;

  const CudaExecutable& executable_;
  const CudaMemory& memory_;
  const CudaLayout& layout_;
  cuda::Stream &stream_, &side_;
  CudaLaunch launch_;
  size_t index_ = 0;
  std::vector<CudaCheckedLayer> checked_;
};

}  // namespace lasnet
