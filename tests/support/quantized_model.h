// Quantized networks made from a seed, for tests.
#pragma once

#include <cstdint>

#include "lasnet/quantize.h"
#include "support/random_model.h"

namespace lasnet::test {

/// A few random images of this size.
inline CalibrationImages random_images(int64_t count, MapSize size, uint64_t seed) {
  return {.count = count, .read = [size, seed](int64_t index) {
            return random_input(1, size, seed + static_cast<uint64_t>(index));
          }};
}

/// random_model, quantized on three random images.
inline Model quantized_model(const ArchConfig& arch, uint64_t seed, MapSize size = {64, 64},
                             QuantizationMethod method = QuantizationMethod::mse) {
  return quantize(random_model(arch, seed), random_images(3, size, seed + 100), {.method = method});
}

}  // namespace lasnet::test
