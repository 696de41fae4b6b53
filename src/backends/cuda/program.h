// What a network runs on the GPU, as a value: the operations of each block, in the order of their launches.
// The engine executes them (backends/cuda/network.h), the latency model prices them one by one
// (backends/cuda/prices.h). Nothing else decides what runs.
#pragma once

#include <vector>

#include "backends/cuda/kernels/conv_shape.h"
#include "backends/cuda/kernels/list_geometry.h"
#include "backends/cuda/plan.h"

namespace lasnet::cuda {

/// A kernel of kernels.h; `fill` is a stream's own.
enum class OperationKind {
  image_to_map,
  conv,
  max_pool,
  masker,
  masker_group,
  build_lists,
  fill,
  gather_patches,
  gathered_pixels,
  mean,
  excite,
  scale_pixels,
  add_relu,
  head,
};

/// Place of a convolution in its network or block.
enum class ConvName { first, second, third, projection, stem };

/// A map that an operation reads or writes.
enum class MapName {
  image,
  stem,
  input,     ///< of the block
  middle,    ///< output of the first convolution
  inner,     ///< output of the second of three
  gathered,  ///< copies of patches of `middle`
  body,      ///< output of the last convolution, before it is added
  output,    ///< of the block; without a projection the same map as `input`
};

/// Pixels that an operation computes.
struct PixelSet {
  ListKind list = ListKind::active;
  bool everything = false;    ///< every pixel, whatever the masks: the list that is made once per size
  bool whole_images = false;  ///< every pixel of the images with an active patch
};

/// What may run at the same time.
enum class Concurrency {
  serial,  ///< nothing
  side,    ///< on a second stream, what is `beside`
  beside,  ///< on the first stream, what is `side`
};

/// A list that is built of a mask.
struct ListBuild {
  ListKind kind = ListKind::active;
  int whole_from_patches = 1 << 30;  ///< as of ListTarget
};

struct Operation {
  OperationKind kind = OperationKind::conv;
  /// In reports, where operations of one name that follow each other are one.
  const char* name = "";
  Concurrency concurrency = Concurrency::serial;
  bool starts_early = true;  ///< it may start before the kernel before it has ended
  MapName in = MapName::input, out = MapName::output;
  PixelSet over = {};

  ConvName conv = ConvName::first;
  Epilogue epilogue = Epilogue::bias_relu;
  CudaConvWork work = {};  ///< of a convolution
  CudaTile tile = {};      ///< the fastest one for it

  CudaMaskerShare masker = {};        ///< of a masker
  std::vector<ListBuild> lists = {};  ///< of build_lists

  bool is_masker() const { return kind == OperationKind::masker || kind == OperationKind::masker_group; }
  /// Sets `work` and `tile` for `pixels`, of which masks leave `rate`.
  void choose_tile(const CudaConvWork& layer, int64_t pixels, double rate, const CudaTileCosts& costs);
};

struct BlockProgram {
  std::vector<Operation> operations;

  bool runs(OperationKind kind) const;
};

/// A block without a masker, or one whose every pixel is computed.
BlockProgram static_program(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                            const CudaTarget& target);

/// A block that follows its masks under a plan, as feasible_cuda_schedule makes it. `masker`: of a plan whose
/// maskers are incremental.
BlockProgram dynamic_program(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                             const BlockSchedule& plan, const CudaMaskerShare& masker,
                             const CudaTarget& target);

/// What comes before the first block.
BlockProgram stem_program(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t images,
                          const CudaTarget& target);
/// What comes after the last one: nothing in a backbone.
BlockProgram head_program(const ModelSpec& spec);

struct NetworkProgram {
  BlockProgram stem;
  std::vector<BlockProgram> blocks;
  BlockProgram head;
};

/// `plan`: of every block; null: no block follows masks.
NetworkProgram network_program(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t images,
                               const NetworkSchedule* plan, const CudaTarget& target);

}  // namespace lasnet::cuda
