// The body of a block: its convolutions over the lists of active pixels, by the block's schedule, and the
// identity path that they end in.
#pragma once

#include <span>

#include "backends/cpu/conv.h"
#include "backends/cpu/loops.h"
#include "backends/cpu/memory.h"
#include "backends/cpu/operation_clock.h"
#include "engine/executable.h"

namespace lasnet {

/// Images [first, last) of the batch.
struct ImageRange {
  int64_t first = 0, last = 0;
};

/// One block of one run, whose mask is known: executes the body of its program.
class CpuBody {
 public:
  CpuBody(const CpuExecutable& executable, size_t index, BlockMemory& memory, MaskOutcome outcome,
          const RunRequest& request, CpuLoops& loops);

  /// The first operation, if it makes the lists of active pixels.
  void make_lists();
  /// The other ones.
  void run();

 private:
  const std::vector<CpuOperation>& operations() const { return memory_.program.body(outcome_); }
  void run(const CpuOperation& operation);
  void run_conv(const CpuOperation& operation);
  /// All convolutions of an identity bottleneck, a few rows of patches at a time.
  void run_row_bands();
  /// Any but the last convolution, over `lists` of these images.
  void run_inner(int conv, const ActiveLists& lists, ImageRange images);
  void run_conv1(PixelPairs pixels);
  void run_conv2(PixelPairs pixels);
  /// Copies the active patches of the middle map, with their halo.
  void gather();
  /// What convs[1], the 3x3, reads for `pixels`: inner[0], or the copied patches.
  ConvSource second_input(PixelPairs pixels) const;
  /// What the last convolution reads for active pixels from `first` on.
  ConvSource last_input(int64_t first) const;
  /// From x to every pixel of y.
  ConvCall projection_call(const PackedConv& conv, Epilogue epilogue) const;
  void run_projection();
  void add_in_place(int64_t first_patch, int64_t last_patch);
  void add_projected();
  void write_addend();
  void add_addend();
  /// A convolution that writes y, of the pixels of `patches`. The last of these only says where they end.
  void write_output(const ConvCall& call, std::span<const ListedPatch> patches);
  /// What the block keeps sums in; null: it does not, or no masker runs.
  PatchSums* kept_sums() const { return outcome_ == MaskOutcome::unmasked ? nullptr : memory_.kept_sums; }
  void keep_sums(std::span<const ListedPatch> patches);
  void run_squeeze_excite();
  /// A convolution of the operation that runs.
  void convolve(const ConvCall& call);
  /// Shows the block's input to whoever asked.
  void show_input() const;
  /// What the request wants to know of a layer's output.
  void inspect(const ConvSpec& conv, const CpuMap& out, PixelPairs pixels) const;
  template <typename Body>
  void for_each_output_row(Body&& body);

  const CpuBlock& block_;
  BlockMemory& memory_;
  const MaskOutcome outcome_;
  const RunRequest& request_;
  const ActiveLists& everything_;
  const ActiveLists& lists_;
  CpuLoops& loops_;
  bool gathered_ = false;  ///< the 3x3 reads the copied patches
  size_t current_ = 0;     ///< operation
  std::vector<int64_t>& computed_;
  OperationClock clock_;
};

/// Mean over each listed image's pixels: out[image * channels + c].
void mean_over_pixels(const CpuMap& map, const PixelList& pixels, PixelPairs images, int channels, float* out,
                      CpuLoops& loops);

}  // namespace lasnet
