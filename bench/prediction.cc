// How long a prediction takes: a whole network, on a GPU's and a CPU's profile.
#include <benchmark/benchmark.h>

#include "lasnet/latency.h"

namespace lasnet {
namespace {

void predict_network(benchmark::State& state, const std::string& network, const std::string& hardware_name) {
  ArchConfig arch;
  arch.name = network;
  arch.granularity = parse_granularity("4-4-2-1");
  const ModelSpec spec = make_spec(arch);
  const HardwareProfile hardware = load_hardware(hardware_name);
  for (auto _ : state) benchmark::DoNotOptimize(predict_latency(spec, hardware, {.rate = 0.4}));
}

BENCHMARK_CAPTURE(predict_network, resnet50_v100, "resnet50", "v100")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(predict_network, resnet50_cpu_avx2, "resnet50", "cpu-avx2")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(predict_network, resnet101_v100, "resnet101", "v100")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(predict_network, resnet101_cpu_avx2, "resnet101", "cpu-avx2")
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lasnet

BENCHMARK_MAIN();
