// The arithmetic of a backend's convolutions.
#pragma once

#include <string>

#include "lasnet/export.h"

namespace lasnet {

/// The arithmetic of convolutions. `fp32` is float32 throughout. The cuda backend has three more, on tensor
/// cores with float32 sums. `tf32`: float32 in memory, 10-bit mantissas in products. `fp16` and `bf16`:
/// weights and activations of 16 bits. Maskers, the layers of Squeeze-and-Excitation and the classifier sum
/// and keep float32 in each of them. The cpu and reference backends have `int8`: weights of 8 bits with a
/// scale for each output channel, maps of unsigned 8 bits with one scale, and int32 sums. It needs a model
/// with a Quantization (lasnet/quantize.h).
enum class Precision { fp32, tf32, fp16, bf16, int8 };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(Precision precision);
LASNET_EXPORT Precision parse_precision(const std::string& text);

}  // namespace lasnet
