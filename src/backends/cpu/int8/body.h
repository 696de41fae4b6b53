// The body of a block in int8: its convolutions over the lists of active pixels, and its masker.
#pragma once

#include <span>
#include <vector>

#include "backends/cpu/int8/memory.h"
#include "backends/cpu/loops.h"
#include "backends/cpu/operation_clock.h"

namespace lasnet {

using Int8Loops = KernelLoops<Int8Kernels>;

/// Windows that a convolution reads, one for each output pixel.
struct ByteSource {
  const uint32_t* data;
  int64_t pitch;           ///< words
  const int64_t* taps;     ///< offsets from the centres, words
  const int32_t* centres;  ///< in pixels
};

/// `conv` of the windows, written to `pixels.out` of a map.
Int8ConvCall int8_conv_call(const PackedInt8Conv& conv, const ByteSource& in, ByteMap& out, PixelPairs pixels,
                            Int8Epilogue epilogue);

/// One block of one run, whose mask is known: executes the body of its program.
class Int8Body {
 public:
  Int8Body(const Int8Executable& executable, size_t index, Int8BlockMemory& memory, MaskOutcome outcome,
           const RunRequest& request, Int8Loops& loops);

  /// The first operation, if it makes the lists of active pixels.
  void make_lists();
  /// The other ones.
  void run();

 private:
  const std::vector<CpuOperation>& operations() const { return memory_.program.body(outcome_); }
  void run(const CpuOperation& operation);
  void run_conv(const CpuOperation& operation);
  void run_inner(int conv, PixelPairs pixels);
  void run_squeeze_excite();
  /// What the last convolution reads for active pixels.
  ByteSource last_input() const;
  void add_in_place();
  /// A convolution that writes y, of the pixels of `patches`. The last of these only says where they end.
  void write_output(const Int8ConvCall& call, std::span<const ListedPatch> patches);
  void add_projected();

  const Int8CpuBlock& block_;
  Int8BlockMemory& memory_;
  const MaskOutcome outcome_;
  const ActiveLists& everything_;
  const ActiveLists& lists_;
  Int8Loops& loops_;
  size_t current_ = 0;  ///< operation
  std::vector<int64_t>& computed_;
  OperationClock clock_;
};

/// Fills block.differences and block.patches for a dynamic block.
MaskOutcome decide_int8(const Int8Executable& executable, size_t index, const RunRequest& request,
                        Int8BlockMemory& block, Int8Loops& loops);

}  // namespace lasnet
