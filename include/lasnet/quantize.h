// Post-training quantization: scales for int8 runs from photographs, without labels and without training.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/model.h"

namespace lasnet {

/// How the largest value of a map, which becomes the byte 255, is chosen from the values that were seen.
/// `minmax`: the largest one. `percentile`: the one that kQuantizationPercentile of the values do not exceed.
/// `mse`: the one with the least squared error of all values, rounded and clipped.
enum class QuantizationMethod { minmax, percentile, mse };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(QuantizationMethod method);
LASNET_EXPORT QuantizationMethod parse_quantization_method(const std::string& text);

/// Share of a map's values that QuantizationMethod::percentile does not clip.
inline constexpr double kQuantizationPercentile = 0.9999;

/// Images as a network sees them, which are read one after the other.
struct CalibrationImages {
  int64_t count = 0;  ///< how many there are
  /// The image of this index, float32 [1, 3, H, W], preprocessed; an empty Tensor where it cannot be read.
  std::function<Tensor(int64_t index)> read;
};

/// How scales are looked for.
struct QuantizationOptions {
  QuantizationMethod method = QuantizationMethod::mse;  ///< how each map's scale is chosen
  SessionOptions session = {};                          ///< on what the images run, in fp32
  /// Called after every image with the share of the work that is done; may be empty.
  std::function<void(double share)> progress = {};
};

/// The quantization of a model, and `model.weights` as its int8 weights stand for them.
///
/// The images run in fp32 with their own masks. Only computed pixels count: inactive ones hold what an
/// earlier block left there. A weight is -127 to 127 steps of its output channel's scale. Weights of one sign
/// of input channels 2 i and 2 i + 1 sum to at most 128 steps, so that 16 bits hold their products with two
/// bytes. A projection and the last convolution of its block share one sum, so they share the product of
/// input scale and weight scale.
///
/// Throws Error where no image can be read, on options out of range, and on weights or activations that are
/// not finite.
LASNET_EXPORT Model quantize(const Model& model, const CalibrationImages& images,
                             const QuantizationOptions& options = {});

/// Of a quantized model: the share of each map's values in these images that its scale clips, by
/// Quantization::maps' names, the input left out. Images of another kind than those that the scales were
/// chosen on have large ones. `options.method` has no meaning. Throws Error on a model without a
/// quantization.
LASNET_EXPORT std::map<std::string, double> clipped_shares(const Model& model,
                                                           const CalibrationImages& images,
                                                           const QuantizationOptions& options = {});

/// Sentences for whoever chose these images: a map of whose values more than a hundredth is clipped.
/// `shares`: as of clipped_shares. `images` names them in the message.
LASNET_EXPORT std::vector<std::string> clipping_warnings(const std::map<std::string, double>& shares,
                                                         const std::string& images);
/// The same of the images that chose a quantization's scales: fewer than 16 of them, and what is clipped.
LASNET_EXPORT std::vector<std::string> calibration_warnings(const Quantization& quantization,
                                                            const std::string& images);

/// The names that Quantization::maps has for a network.
struct QuantizedMaps {
  std::vector<std::string> residual;            ///< of the map before each block, and of the last one
  std::vector<std::vector<std::string>> inner;  ///< of each block: outputs of all convolutions but the last
  std::vector<std::string> excited;             ///< of each block: after Squeeze-and-Excitation; "" without
};
/// Of this network. The input is called kQuantizedInput.
LASNET_EXPORT QuantizedMaps quantized_maps(const ModelSpec& spec);
/// The name of a network's input among the maps.
inline constexpr const char* kQuantizedInput = "input";

/// Throws Error naming what does not fit: layers and maps that are missing
/// or unexpected, shapes, scales that are not finite or not above 0, weights of -128, sums beyond int32.
/// `origin` names the source in the message.
LASNET_EXPORT void check_quantization(const ModelSpec& spec, const Quantization& quantization,
                                      const std::string& origin);

/// The float32 weights that a quantization stands for, BatchNorm folded into them. `others` has what is not
/// quantized: maskers, and the layers of Squeeze-and-Excitation. The quantization has passed
/// check_quantization.
LASNET_EXPORT Weights dequantized_weights(const ModelSpec& spec, const Quantization& quantization,
                                          const Weights& others);

}  // namespace lasnet
