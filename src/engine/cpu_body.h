// The body of a block: its convolutions over the lists of active pixels, by the block's schedule, and the
// identity path that they end in.
#pragma once

#include "engine/cpu_conv.h"
#include "engine/cpu_loops.h"
#include "engine/cpu_memory.h"

namespace lasnet {

/// Images [first, last) of the batch.
struct ImageRange {
  int64_t first = 0, last = 0;
};

struct BodyRun {
  bool sparse = false;        ///< memory.lists->current says what is active; else everything is
  bool conv1_done = false;    ///< convs[0] has computed every pixel already
  bool check_finite = false;  ///< throw Error naming the first layer whose output is not finite
};

/// One block of one run.
class CpuBody {
 public:
  CpuBody(const CpuExecutable& executable, size_t index, BlockMemory& memory, const BodyRun& run,
          CpuLoops& loops);

  void run();

 private:
  /// All convolutions but the last over `lists` of these images.
  void run_inner(const ActiveLists& lists, ImageRange images);
  /// All convolutions of an identity bottleneck, a few rows of patches at a time.
  void run_row_bands();
  /// What convs[1], the 3x3, reads for `pixels`: inner[0], or a copy of the active patches.
  ConvSource second_input(const ActiveLists& lists, PixelPairs pixels);
  /// What the last convolution reads for active pixels from `first` on.
  ConvSource last_input(int64_t first);
  void run_last();
  /// From x to every pixel of y.
  ConvCall projection_call(const PackedConv& conv, Epilogue epilogue) const;
  void add_in_place(int64_t first_patch, int64_t last_patch);
  void add_projected();
  void add_separately();
  void keep_sums_later();
  void run_squeeze_excite();
  void run_conv1(PixelPairs pixels);
  void run_conv2(const ActiveLists& lists, PixelPairs pixels);
  void check(const ConvSpec& conv, const CpuMap& out, PixelPairs pixels) const;

  const CpuBlock& block_;
  const BlockPlan& plan_;
  BlockMemory& memory_;
  const ActiveLists& everything_;
  const ActiveLists& lists_;
  const BodyRun run_;
  CpuLoops& loops_;
};

/// Mean over each listed image's pixels: out[image * channels + c].
void mean_over_pixels(const CpuMap& map, const PixelList& pixels, PixelPairs images, int channels, float* out,
                      CpuLoops& loops);

}  // namespace lasnet
