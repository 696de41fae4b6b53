// How close the CUDA kernels come to what the device could do: the times of a ResNet's kernels one by one
// beside the longer of two floors, the bytes that must move at the memory's peak rate and the
// multiplications at the multiprocessors' peak rate.
//
//   build/bench_cuda_roofline [PRECISION ...] [BATCH ...]     default: fp32 fp16, batch 128
//
// A Markdown table. Convolutions over all pixels and over those of half of the patches, with the tile that
// the engine chooses; times as `lasnet calibrate --device cuda` measures them: medians of runs of a graph of
// several launches, from one launch to the next. A map smaller than the second-level cache may be found
// there, and seem to be faster than its floor.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/tile_choice.h"
#include "cuda_bench.h"

namespace lasnet {
namespace {

/// Multiply-adds of a multiprocessor per clock, dense; 0: of no architecture that is known here. Tensor
/// cores: at the rate of the device's newest instructions, which need not be the ones that are used, and of
/// workstation boards (GeForce's take half of it with float32 sums).
double multiply_adds_per_clock(int compute_capability, Precision precision) {
  struct Rates {
    int from, fp32, half;
  };
  constexpr Rates kRates[] = {{120, 128, 512}, {100, 128, 4096}, {90, 128, 2048}, {89, 128, 512},
                              {87, 128, 1024}, {86, 128, 512},   {80, 64, 1024},  {70, 64, 0},
                              {61, 128, 0},    {60, 64, 0}};
  for (const Rates& rates : kRates) {
    if (compute_capability < rates.from) continue;
    if (precision == Precision::fp32) return rates.fp32;
    return precision == Precision::tf32 ? rates.half / 2.0 : rates.half;
  }
  return 0;
}

/// What a kernel did, and what it must at least.
struct Row {
  std::string kernel, map, tile;
  double seconds, bytes, multiply_adds;
};

class Roofline {
 public:
  Roofline(const CudaMeasurements& measured, Precision precision)
      : precision_(precision),
        bytes_per_s_(measured.memory_bytes_per_s),
        multiply_adds_per_s_(measured.clock_hz * measured.multiprocessors *
                             multiply_adds_per_clock(cuda_devices().front().compute_capability, precision)) {}

  void print(const Row& row) const {
    const double moving = bytes_per_s_ > 0 ? row.bytes / bytes_per_s_ : 0;
    const double computing = multiply_adds_per_s_ > 0 ? row.multiply_adds / multiply_adds_per_s_ : 0;
    const double floor = std::max(moving, computing);
    fmt::print(
        "| {} | {} | {} | {} | {:.1f} | {} | {} | {} | {} |\n", to_string(precision_), row.kernel, row.map,
        row.tile, 1e6 * row.seconds, rate(row.bytes, row.seconds), rate(2 * row.multiply_adds, row.seconds),
        floor > 0 ? fmt::format("{:.1f} ({})", 1e6 * floor, moving < computing ? "MACs" : "bytes") : "",
        floor > 0 ? fmt::format("{:.0f} %", 100 * floor / row.seconds) : "latency");
  }

 private:
  /// Tera per second.
  static std::string rate(double amount, double seconds) {
    return amount > 0 ? fmt::format("{:.2f}", 1e-12 * amount / seconds) : "";
  }

  Precision precision_;
  double bytes_per_s_, multiply_adds_per_s_;
};

Row conv_row(const CudaConvCase& layer, const std::vector<CudaConvSample>& tiles, int batch) {
  const double pixels = 1.0 * batch * layer.height * layer.width;
  CudaConvWork work = tiles.front().work;
  work.order = accumulation_order(work, pixels);
  const CudaTileShape shape = choose_cuda_tile(work).shape;
  const auto chosen = std::find_if(tiles.begin(), tiles.end(),
                                   [&](const CudaConvSample& sample) { return sample.shape == shape; });
  const double weights = 1.0 * layer.in * layer.kernel * layer.kernel * layer.out;
  const double moved =
      cuda::padded_channels(layer.in) + (layer.adds ? 2.0 : 1.0) * cuda::padded_channels(layer.out);
  return {.kernel = fmt::format("{}x{} {}->{}{}", layer.kernel, layer.kernel, layer.in, layer.out,
                                layer.adds ? ", added" : ""),
          .map = fmt::format("{}x{}, {:.0f} %", layer.height, layer.width, 100 * work.pixels / pixels),
          .tile = to_string(shape),
          .seconds = chosen->seconds,
          .bytes = cuda::element_bytes(work.precision) * (work.pixels * moved + weights) +
                   2 * sizeof(int32_t) * work.pixels,
          .multiply_adds = work.pixels * weights};
}

void run_stage(const BottleneckStage& stage, int batch, Precision precision) {
  const std::vector<CudaConvCase> layers = stage.layers();
  const CudaMapCase map{stage.side, stage.side, 4 * stage.width, stage.granularity};
  const CudaMeasurements measured = measure_cuda({.convs = layers,
                                                  .maps = {map},
                                                  .batches = {batch},
                                                  .rates = {1, 0.5},
                                                  .precisions = {precision},
                                                  .classes = 1000,
                                                  .budget_s = std::numeric_limits<double>::infinity()},
                                                 [](double, const std::string&) {});
  const Roofline roofline(measured, precision);
  const size_t rates = measured.convs.size() / layers.size();
  for (size_t i = 0; i < measured.convs.size(); ++i)
    roofline.print(conv_row(layers[i / rates], measured.convs[i], batch));
  for (const CudaKernelSample& sample : measured.kernels) {
    if (sample.counts[CudaUnit::branch] > 0) continue;  // of one image, for calibration
    roofline.print(
        {.kernel = sample.kernel,
         .map = fmt::format("{}x{}x{}, S = {}", map.height, map.width, map.channels, map.granularity),
         .tile = {},
         .seconds = sample.seconds,
         .bytes = sample.bytes,
         .multiply_adds = 0});
  }
}

void run(const CudaArguments& arguments) {
  for (int batch : arguments.batches) {
    fmt::print(
        "Batch {}; times and floors in us.\n\n"
        "| precision | kernel | map | tile | us | TB/s | TFLOP/s | floor | of it |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        batch);
    for (Precision precision : arguments.precisions) {
      for (const BottleneckStage& stage : kBottleneckStages) run_stage(stage, batch, precision);
    }
    fmt::print("\n");
  }
}

}  // namespace
}  // namespace lasnet

int main(int argc, char** argv) {
  using lasnet::Precision;
  return lasnet::run_cuda_bench(argc, argv,
                                "A ResNet's CUDA kernels beside the floors that bytes and MACs set",
                                {{Precision::fp32, Precision::fp16}, {128}}, lasnet::run);
}
