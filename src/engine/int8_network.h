// A quantized network as integer arithmetic: what backends need of a Quantization for Precision::int8.
//
// A convolution sums int8 weights times uint8 inputs in int32. An output byte is
//   clamp(round(fma(sum, multiplier, bias)) + identity, 0, 255),
// with a fused multiply-add in float32 and rounding to the nearest integer, halves to even. `identity` is the
// byte that was there, where a block adds in place. Every backend and instruction set has these bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "lasnet/geometry.h"
#include "lasnet/model.h"

namespace lasnet {

inline constexpr int kMaxByte = 255;

/// Largest sum of two weights of one sign that are multiplied together, those of channels 2 i and 2 i + 1:
/// 255 times it fits 16 bits. Quantization keeps to it. Other weights run too, slower where there is no dot
/// product of bytes.
inline constexpr int kMaxPairOfWeights = 128;

/// To the nearest integer, halves to even; `value` is far inside int32.
inline int32_t round_to_even(float value) { return static_cast<int32_t>(std::nearbyint(value)); }

inline uint8_t to_byte(int32_t value) { return static_cast<uint8_t>(std::clamp(value, 0, kMaxByte)); }

/// An image's value as a byte; NaN becomes 0, infinities the ends.
inline uint8_t input_byte(float value, float inverse_scale, float zero) {
  const float scaled = std::fma(value, inverse_scale, zero);
  const float above = scaled > 0 ? scaled : 0.0f;
  return to_byte(round_to_even(above < kMaxByte ? above : static_cast<float>(kMaxByte)));
}

/// A convolution, or the classifier as a 1x1 one.
struct Int8Layer {
  ConvSpec spec;
  Array<int8_t> weight;  ///< [out, in / groups, k, k]
  std::vector<float>
      multiplier;           ///< [out]: from a sum to units of the output map; of the classifier to logits
  std::vector<float> bias;  ///< [out], in the same units
};

/// Bits of a masker's largest weight: its sums over the largest windows stay inside int64.
inline constexpr int kMaskerBits = 20;

/// A masker in integers. weight * 2^-shift are float32's w0 - w1, to kMaskerBits of the largest.
struct Int8Masker {
  std::vector<int32_t> weight;  ///< [Cin]
  double scale = 0;             ///< from the sum of weight * byte to the sum of w * x
  double bias = 0;              ///< b0 - b1

  /// logit0 - logit1 of a patch of so many pixels. Subnormals are 0, as kernels have them.
  float difference(int64_t dot, int64_t pixels) const {
    const auto value =
        static_cast<float>(static_cast<double>(dot) * scale / static_cast<double>(pixels) + bias);
    return std::abs(value) < std::numeric_limits<float>::min() ? 0.0f : value;
  }
};

/// Vectors of one image that Squeeze-and-Excitation works on. They keep their memory.
struct ExcitationVectors {
  std::vector<float> mean, squeezed, factors;
};

/// Squeeze-and-Excitation in float32: factors for the bytes of the map before the last convolution.
struct Int8SqueezeExcite {
  Tensor fc1_weight, fc2_weight;  ///< [in, out]
  Tensor fc1_bias, fc2_bias;
  SePool pool = SePool::active;
  float input_scale = 0;  ///< of the map before it
  float rescale = 0;      ///< that scale over the scale of the map after it

  /// A channel's mean, of the sum of its bytes over so many pixels.
  float mean(int64_t sum, int64_t pixels) const {
    return static_cast<float>(static_cast<double>(sum) * double{input_scale} / static_cast<double>(pixels));
  }
  /// `vectors.factors` [channels] from `vectors.mean` [channels], in one order whoever asks.
  void excite(ExcitationVectors& vectors) const;
};

/// A byte times a factor.
inline uint8_t excited_byte(uint8_t byte, float factor) {
  return to_byte(round_to_even(static_cast<float>(byte) * factor));
}

struct Int8Block {
  std::vector<Int8Layer> convs;
  std::optional<Int8SqueezeExcite> squeeze_excite;
  /// Has the multiplier of the last of the convs, so that both sum in one int32.
  std::optional<Int8Layer> projection;
  std::optional<Int8Masker> masker;
};

struct Int8Network {
  float input_inverse_scale = 0;
  float input_zero = 0;
  Int8Layer stem;
  std::vector<Int8Block> blocks;
  std::optional<Int8Layer> head;  ///< reads means with kHeadFraction more bits than a byte
  std::vector<float> map_scales;  ///< of the map before each block, and of the last one
};

/// Units of the head's input in one of the last map.
inline constexpr int64_t kHeadFraction = 256;

/// A classifier's logit of a sum of its weights times head_input.
inline float head_logit(int64_t sum, float multiplier, float bias) {
  return static_cast<float>(std::fma(static_cast<double>(sum), double{multiplier}, double{bias}));
}

/// The mean of so many bytes as the head reads it: from 0 to 65280.
inline int32_t head_input(int64_t sum, int64_t pixels) {
  return static_cast<int32_t>((2 * sum * kHeadFraction + pixels) / (2 * pixels));
}

/// Most pixels whose bytes are summed: under a patch by its masker, in a map by Squeeze-and-Excitation and by
/// the average before the classifier.
inline constexpr int64_t kMaxSummedPixels = int64_t{1} << 22;

/// Throws Error where there would be more.
void check_summed_pixels(const ModelSpec& spec, const NetworkGeometry& geometry);

/// `model` has passed check_weights and has a quantization, which is checked.
Int8Network make_int8_network(const Model& model);

}  // namespace lasnet
