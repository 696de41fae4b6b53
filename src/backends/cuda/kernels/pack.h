// Convolution weights in the order the kernels read them. On the host; no CUDA.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cuda/kernels/conv_shape.h"
#include "lasnet/precision.h"
#include "lasnet/tensor.h"

namespace lasnet::cuda {

/// A convolution's packed weights and the numbers that describe them to a kernel.
struct PackedConv {
  std::vector<uint8_t> weights;  ///< [slices][steps][kSliceStepBytes], see conv_fp32.cu and conv_tensor.cu
  std::vector<float> bias;       ///< [slices * kSlice], zero in the padding
  int taps = 1;
  int run = 0;                      ///< input elements per tap
  int group_in = 0, group_out = 0;  ///< 0: one group
  int slices() const { return static_cast<int>(bias.size()) / kSlice; }
};

struct ConvLayout {
  int groups = 1;
  int in_pitch = 0;  ///< elements between input pixels
  /// A kernel row is one run of kernel * in_pitch elements (the stem, whose pixels are 16 bytes). Needs one
  /// group.
  bool merge_rows = false;
};

/// Bytes of a weight or activation.
int element_bytes(Precision precision);

/// Elements of a pixel of the network's input: four where two pixels share 16 bytes and windows start at even
/// ones, else 16 bytes of them.
int image_pitch(Precision precision, int channels, int stride);

/// Input elements per tap that the kernels read of a pixel, whole vectors: of a grouped convolution the union
/// of the groups that a slice of output channels touches.
int reduction_run(int in_channels, int out_channels, int groups);

/// Packs weight [out, in / groups, k, k] and bias [out], rounded to `precision`.
PackedConv pack_conv(const Tensor& weight, const std::vector<float>& bias, const ConvLayout& layout,
                     Precision precision);

/// The weights of one group once more, for `hopper` tiles: [blocks of 64 output channels, an even
/// number][steps of 128 bytes][channel][16 bytes], those of a step at column c of channel r at column c ^ r
/// % 8. fp16 or bf16.
std::vector<uint8_t> pack_hopper_weights(const Tensor& weight, Precision precision);

/// Values in the precision's bytes, e.g. for tests and the masker's padding.
void append_elements(const std::vector<float>& values, Precision precision, std::vector<uint8_t>& bytes);

}  // namespace lasnet::cuda
