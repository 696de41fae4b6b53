// What the programs that time CUDA kernels share: the layers of a ResNet, and their arguments, precisions and
// batches in any order.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/cuda_measure.h"
#include "lasnet/engine.h"
#include "lasnet/precision.h"

namespace lasnet {

/// A ResNet's stage, whose blocks' maps have four times its width.
struct BottleneckStage {
  int side, width, granularity;

  /// Of a block that keeps the map: 1x1, 3x3, 1x1 added to the map.
  std::vector<CudaConvCase> layers() const {
    const CudaConvCase map{.height = side, .width = side, .granularity = granularity};
    CudaConvCase first = map, second = map, third = map;
    first.in = third.out = 4 * width;
    first.out = second.in = second.out = third.in = width;
    second.kernel = 3;
    third.adds = true;
    return {first, second, third};
  }
};
inline constexpr BottleneckStage kBottleneckStages[] = {{56, 64, 4}, {28, 128, 4}, {14, 256, 2}, {7, 512, 1}};

struct CudaArguments {
  std::vector<Precision> precisions;
  std::vector<int> batches;
};

/// Runs function(arguments), which are `defaults` where none are given: a program's main. Returns 2 for
/// arguments that mean nothing, 1 for other errors.
template <class Function>
int run_cuda_bench(int argc, char** argv, const char* what, CudaArguments defaults, Function&& function) {
  CudaArguments given;
  for (int i = 1; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (text == "--help" || text == "-h") {
      fmt::print(
          "{}\nUsage: {} [PRECISION ...] [BATCH ...]\n  PRECISION: fp32, tf32, fp16 or bf16\n  BATCH: "
          "images, 1 to 4096\n",
          what, argv[0]);
      return 0;
    }
    int batch = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), batch);
    if (failed == std::errc() && end == text.data() + text.size() && batch >= 1 && batch <= 4096) {
      given.batches.push_back(batch);
      continue;
    }
    try {
      given.precisions.push_back(parse_precision(std::string(text)));
    } catch (const std::exception&) {
      fmt::print(stderr, "error: '{}' is neither a batch, 1 to 4096, nor a precision; see --help\n", text);
      return 2;
    }
  }
  if (given.precisions.empty()) given.precisions = defaults.precisions;
  if (given.batches.empty()) given.batches = defaults.batches;
  if (cuda_devices().empty()) {
    fmt::print(stderr, "error: no CUDA device: {}\n", cuda_unavailable_reason());
    return 1;
  }
  try {
    function(given);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}

}  // namespace lasnet
