// Times the CUDA convolution with every tile on the layers of a ResNet: what choose_cuda_tile's figures come
// from.
//
//   build/bench_cuda_tiles [PRECISION ...] [BATCH ...]     default: fp32 tf32 fp16, batches 1, 8 and 128
//
// One line per precision, batch, layer, share of listed pixels and tile: microseconds (medians of runs of a
// graph of several launches, as `lasnet calibrate --device cuda` measures), TFLOP/s, and whether it is the
// tile that would be chosen.
#include <fmt/format.h>

#include <limits>
#include <string>
#include <vector>

#include "backends/cuda/tile_choice.h"
#include "cuda_bench.h"

namespace lasnet {
namespace {

void measure(const CudaConvCase& layer, int batch, double rate, Precision precision) {
  CudaMeasurements measured = measure_cuda({.convs = {layer},
                                            .maps = {},
                                            .batches = {batch},
                                            .rates = {rate},
                                            .precisions = {precision},
                                            .budget_s = std::numeric_limits<double>::infinity()},
                                           [](double, const std::string&) {});
  if (measured.convs.empty()) return;  // no patch is active
  for (const CudaConvSample& sample : measured.convs.front()) {
    CudaConvWork work = sample.work;
    work.order = accumulation_order(work, static_cast<double>(batch) * layer.height * layer.width);
    double macs = work.pixels * layer.in * layer.kernel * layer.kernel * layer.out;
    fmt::print("{} {} {}x{} {}->{} {} {:.2f} {:.0f} {} {:.2f} {:.1f}{}\n", to_string(precision), batch,
               layer.height, layer.width, layer.in, layer.out, layer.kernel, rate, work.pixels,
               to_string(sample.shape), 1e6 * sample.seconds, 2e-12 * macs / sample.seconds,
               choose_cuda_tile(work).shape == sample.shape ? " *" : "");
  }
}

void run(const CudaArguments& arguments) {
  for (Precision precision : arguments.precisions) {
    for (int batch : arguments.batches) {
      for (const BottleneckStage& stage : kBottleneckStages) {
        for (const CudaConvCase& layer : stage.layers()) {
          for (double rate : {1.0, 0.4}) measure(layer, batch, rate, precision);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lasnet

int main(int argc, char** argv) {
  using lasnet::Precision;
  return lasnet::run_cuda_bench(argc, argv, "Every tile of the CUDA convolution on a ResNet's layers",
                                {{Precision::fp32, Precision::tf32, Precision::fp16}, {1, 8, 128}},
                                lasnet::run);
}
