// Sparse against dense runs of one network in interleaved pairs, beside the machine's FMA peak.
//
// Random weights; random independent patch masks whose rate is set so that the network's MAC ratio is the
// asked one. The maskers are computed and only then overridden; every repetition has fresh inputs and masks.
// Times are whole runs: stem, maskers, lists, body, head.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "core/random.h"
#include "fma_peak.h"
#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "lasnet/geometry.h"

namespace lasnet::bench {
namespace {

struct Options {
  std::string architecture = "resnet50", granularity = "4-4-2-1", isa;
  double macs = 0.5;
  int size = 224, batch = 1, threads = 1, repeat = 20;
  uint64_t seed = 0;
};

MaskSet random_masks(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t batch, double rate,
                     Random& random) {
  MaskSet masks;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockGeometry& block = geometry.blocks[b];
    int64_t pixels = block.output.pixels();
    ByteTensor mask({batch, block.output.height, block.output.width});
    for (int64_t n = 0; n < batch; ++n) {
      std::vector<uint8_t> patches(block.grid.patches());
      for (uint8_t& patch : patches) patch = random.uniform() < rate;
      expand_patches(block.grid, patches, std::span(mask.data).subspan(n * pixels, pixels));
    }
    masks[spec.blocks[b].name] = std::move(mask);
  }
  return masks;
}

double macs_ratio_of(const ModelSpec& spec, const NetworkGeometry& geometry, const MaskSet& masks,
                     int64_t batch) {
  double macs = static_cast<double>(fixed_macs(spec, geometry));
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockGeometry& block = geometry.blocks[b];
    const ByteTensor& mask = masks.at(spec.blocks[b].name);
    std::vector<uint8_t> dilated(block.middle.pixels());
    double dilated_rate = 0;
    for (int64_t n = 0; n < batch; ++n) {
      int64_t pixels = block.output.pixels();
      dilate_mask(std::span(mask.data).subspan(n * pixels, pixels), block.output, block.dilation_stride,
                  block.middle, dilated);
      dilated_rate += activation_rate(dilated) / static_cast<double>(batch);
    }
    macs += block_macs(spec.blocks[b], block).dynamic_total(activation_rate(mask.data), dilated_rate);
  }
  return macs / static_cast<double>(static_macs(spec, geometry.input));
}

/// The patch rate that gives the MAC ratio, by bisection over masks of one random stream.
double rate_for_macs(const ModelSpec& spec, const NetworkGeometry& geometry, double macs, uint64_t seed) {
  constexpr int64_t kImages = 8;
  double low = 0, high = 1;
  for (int step = 0; step < 20; ++step) {
    double rate = (low + high) / 2;
    Random random(seed, "rate");
    (macs_ratio_of(spec, geometry, random_masks(spec, geometry, kImages, rate, random), kImages) < macs
         ? low
         : high) = rate;
  }
  return (low + high) / 2;
}

struct Quartiles {
  double q1, median, q3, min;
};

Quartiles quartiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  auto at = [&](double q) {
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {at(0.25), at(0.5), at(0.75), values.front()};
}

struct Measurements {
  std::vector<double> dense_ms, sparse_ms, speedup, peak_share, macs_ratio;
};

Measurements measure(Session& session, const Options& o, double rate) {
  const ModelSpec& spec = session.spec();
  NetworkGeometry geometry = network_geometry(spec, {o.size, o.size});
  double flops = 2.0 * o.batch * static_cast<double>(static_macs(spec, {o.size, o.size}));
  Random random(o.seed, "runs");
  Measurements m;
  constexpr int kWarmup = 2;
  for (int i = 0; i < o.repeat + kWarmup; ++i) {
    Tensor x({o.batch, 3, o.size, o.size});
    for (float& value : x.data) value = static_cast<float>(random.uniform(-2, 2));
    MaskSet masks = random_masks(spec, geometry, o.batch, rate, random);
    double peak = fma_peak_flops(session.isa(), 0.01) * session.threads();
    double dense = session.run(x, {.dense = true, .record_masks = false}).trace.seconds;
    Trace sparse = session.run(x, {.force_masks = &masks, .record_masks = false}).trace;
    if (i < kWarmup) continue;
    m.dense_ms.push_back(dense * 1e3);
    m.sparse_ms.push_back(sparse.seconds * 1e3);
    m.speedup.push_back(dense / sparse.seconds);
    m.peak_share.push_back(flops / dense / peak);
    m.macs_ratio.push_back(sparse.macs_ratio());
  }
  return m;
}

void print(const Options& o, const Session& session, double rate, const Measurements& m) {
  Quartiles dense = quartiles(m.dense_ms), sparse = quartiles(m.sparse_ms), speedup = quartiles(m.speedup),
            peak = quartiles(m.peak_share), macs = quartiles(m.macs_ratio);
  fmt::print("{} S={} {}x{} batch {} threads {} {} patch rate {:.3f}, {} pairs\n", o.architecture,
             o.granularity, o.size, o.size, o.batch, o.threads, to_string(session.isa()), rate, o.repeat);
  fmt::print("  dense    {:8.2f} ms median {:8.2f} min   {:.0f} % of the FMA peak ({:.0f} ... {:.0f})\n",
             dense.median, dense.min, 100 * peak.median, 100 * peak.q1, 100 * peak.q3);
  fmt::print("  sparse   {:8.2f} ms median {:8.2f} min\n", sparse.median, sparse.min);
  fmt::print("  speed-up {:.2f}x ({:.2f} ... {:.2f})   theory {:.2f}x at MAC ratio {:.3f}\n", speedup.median,
             speedup.q1, speedup.q3, 1 / macs.median, macs.median);
  fmt::print(
      "  reproduce: bench_network --arch {} --granularity {} --macs {} --size {} --batch {} --threads {} "
      "--isa {} "
      "--repeat {} --seed {}\n",
      o.architecture, o.granularity, o.macs, o.size, o.batch, o.threads, to_string(session.isa()), o.repeat,
      o.seed);
}

void run(const Options& o) {
  ArchConfig arch;
  arch.name = o.architecture;
  arch.granularity = parse_granularity(o.granularity);
  if (!arch.is_dynamic()) throw Error("granularity: a dynamic network is needed, e.g. 4-4-2-1");
  Model model;
  model.spec = make_spec(arch);
  model.weights = random_weights(model.spec, o.seed);
  double rate = rate_for_macs(model.spec, network_geometry(model.spec, {o.size, o.size}), o.macs, o.seed);
  SessionOptions options{.threads = o.threads};
  if (!o.isa.empty()) options.isa = parse_isa(o.isa);
  Session session(model, options);
  print(o, session, rate, measure(session, o, rate));
}

}  // namespace
}  // namespace lasnet::bench

int main(int argc, char** argv) {
  lasnet::bench::Options options;
  CLI::App app("Sparse against dense runs of a network with random masks");
  app.option_defaults()->always_capture_default();
  app.add_option("--arch", options.architecture, "Architecture");
  app.add_option("--granularity", options.granularity, "S per stage or block");
  app.add_option("--macs", options.macs, "MAC ratio of the sparse runs")->check(CLI::Range(0.05, 1.0));
  app.add_option("--size", options.size, "Input side, px");
  app.add_option("--batch", options.batch, "Images per run")->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads, "Threads")->check(CLI::PositiveNumber);
  app.add_option("--isa", options.isa, "scalar, avx2 or avx512; default: the fastest");
  app.add_option("--repeat", options.repeat, "Pairs of runs")->check(CLI::PositiveNumber);
  app.add_option("--seed", options.seed, "Of weights, inputs and masks");
  CLI11_PARSE(app, argc, argv);
  try {
    lasnet::bench::run(options);
  } catch (const lasnet::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
