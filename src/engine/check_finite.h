// Finding the layer in which a run leaves the finite numbers (RunOptions::check_finite).
#pragma once

#include <string>

#include "lasnet/model.h"
#include "lasnet/tensor.h"
#include "mask/active_lists.h"

namespace lasnet {

/// A map or matrix in memory whose listed pixels `layer` has just computed.
struct LayerOutput {
  const std::string& layer;
  const float* data = nullptr;
  int64_t pitch = 0;  ///< floats between pixels
  int channels = 0;
  MapSize map;  ///< a bordered map; 0 x 0: a row per image
  PixelPairs pixels;
  int64_t border = 1;  ///< of the map
};

/// Throws Error naming layer, image, channel, row and column of the first NaN or infinity.
void check_finite(const LayerOutput& output);

/// Throws the Error about one value: pixel `index` of a map with this border (0 x 0: row `index` of a
/// matrix).
[[noreturn]] void fail_not_finite(const std::string& layer, float value, MapSize map, int64_t index,
                                  int64_t channel, int64_t border = 1);

/// The same for a dense tensor, [N, H, W, C] or [N, C].
void check_finite(const std::string& layer, const Tensor& output);

/// The same for a network's input [N, 3, H, W].
void check_finite_input(const TensorView& input);

}  // namespace lasnet
