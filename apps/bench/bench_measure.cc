#include "bench_measure.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/fail.h"
#include "base/statistics.h"
#include "calibrate/fma_peak.h"
#include "classes.h"
#include "lasnet/geometry.h"
#include "machine.h"
#include "random_masks.h"

namespace lasnet::cli {
namespace {

constexpr double kPeakSeconds = 0.01;

/// What one repetition runs on.
struct Draw {
  Tensor input;
  MaskSet masks;
};

void begin_blocks(const ModelSpec& spec, Measurements& m) {
  for (const BlockSpec& block : spec.blocks) {
    BlockMeasurements& entry = m.blocks.emplace_back();
    entry.name = block.name;
    entry.granularity = block.granularity;
    entry.identity = !block.projection.has_value();
    entry.stage = block.stage;
  }
}

/// Runs once for its memory and caches, once timed, and on the GPU once more for the times of the blocks.
Trace timed_run(Session& session, const Tensor& input, RunOptions options, Measurements& m) {
  Result result;
  session.run(input, options, result);
  session.run(input, options, result);
  m.finite = m.finite && !image_without_class(result.logits);
  if (session.backend() != Backend::cuda) return std::move(result.trace);
  options.time_blocks = true;
  const Trace blocks = session.run(input, options).trace;
  for (size_t b = 0; b < blocks.blocks.size(); ++b) {
    result.trace.blocks[b].seconds = blocks.blocks[b].seconds;
    result.trace.blocks[b].masking_seconds = blocks.blocks[b].masking_seconds;
  }
  return std::move(result.trace);
}

void add_dense(const Trace& trace, Measurements& m) {
  m.dense_ms.push_back(1e3 * trace.seconds);
  for (size_t b = 0; b < m.blocks.size(); ++b) m.blocks[b].dense_ms.push_back(1e3 * trace.blocks[b].seconds);
}

/// Takes the n-th value into the mean of those before: equal values stay what they are.
void add_to_mean(double value, size_t n, double& mean) { mean += (value - mean) / static_cast<double>(n); }

void add_sparse(const Trace& trace, Measurements& m) {
  m.sparse_ms.push_back(1e3 * trace.seconds);
  m.macs_ratio.push_back(trace.macs_ratio());
  const size_t runs = m.sparse_ms.size();
  for (size_t b = 0; b < m.blocks.size(); ++b) {
    const BlockTrace& block = trace.blocks[b];
    add_to_mean(block.rate, runs, m.blocks[b].rate);
    add_to_mean(block.dilated_rate, runs, m.blocks[b].dilated_rate);
    add_to_mean(static_cast<double>(block.macs), runs, m.blocks[b].macs);
    m.blocks[b].run_rates.push_back(block.rate);
    m.blocks[b].run_macs.push_back(block.macs);
    m.blocks[b].static_macs = block.static_macs;
    m.blocks[b].sparse_ms.push_back(1e3 * block.seconds);
    m.blocks[b].masking_ms.push_back(1e3 * block.masking_seconds);
  }
}

double logits_error(const Tensor& got, const Tensor& expected) {
  double error = 0, scale = 0;
  for (size_t i = 0; i < expected.data.size(); ++i) {
    const double difference = std::abs(double{got.data[i]} - expected.data[i]);
    if (!(difference <= error)) error = difference;  // also takes NaN
    scale = std::max(scale, std::abs(double{expected.data[i]}));
  }
  return error / std::max(scale, 1e-30);
}

}  // namespace

Measurements measure(Session& session, Baseline* baseline, BenchInputs& inputs, const MeasureOptions& options,
                     const std::function<void(const Measurements&)>& progress) {
  Measurements m;
  begin_blocks(session.spec(), m);
  Random random(options.seed, "masks");
  Draw draw;
  const RunOptions dense{.dense = true,
                         .record_masks = false,
                         .features = options.features,
                         .feature_layout = options.feature_layout};
  RunOptions sparse = dense;
  sparse.dense = false;
  sparse.thresholds = options.thresholds;
  if (options.rate) sparse.force_masks = &draw.masks;
  const std::function<void()> contenders[] = {
      [&] { add_dense(timed_run(session, draw.input, dense, m), m); },
      [&] { add_sparse(timed_run(session, draw.input, sparse, m), m); },
      [&] {
        baseline->run(draw.input);
        m.baseline_ms.push_back(1e3 * baseline->run(draw.input).seconds);
      }};
  std::vector<int> order(baseline == nullptr ? 2 : 3);
  std::iota(order.begin(), order.end(), 0);
  for (int i = 0; i < options.repeat; ++i) {
    draw.input = inputs.next();
    const Shape& shape = draw.input.shape;
    if (options.rate) {
      const NetworkGeometry geometry = network_geometry(session.spec(), {shape[2], shape[3]});
      draw.masks = random_masks(session.spec(), geometry, shape[0], *options.rate, random);
    }
    if (session.backend() != Backend::cuda && session.precision() == Precision::fp32) {
      const int cores = std::min(session.threads(), physical_cores());
      m.peak_gflops.push_back(1e-9 * cores * fma_peak_flops(session.isa(), kPeakSeconds));
    }
    for (const int contender : order) contenders[contender]();
    std::next_permutation(order.begin(), order.end());  // after the last the first again
    progress(m);
  }
  return m;
}

ChosenBaseline choose_baseline(std::vector<std::unique_ptr<Baseline>> variants, Session& session,
                               const Tensor& input) {
  constexpr int kTrials = 5;
  const double most = max_logits_error(session.precision());
  const Tensor expected = session.run(input, {.dense = true, .record_masks = false}).logits;
  std::vector<double> errors;
  std::vector<TimedVariant> timed;
  for (const auto& variant : variants) {
    errors.push_back(logits_error(variant->run(input).logits, expected));
    if (!(errors.back() <= most)) {
      fail(
          "baseline {} {} ({}): its logits differ from the dense run's by {:.2g} of the largest; expected at "
          "most {:g}, so the two do not compute the same and are not timed",
          variant->name(), variant->version(), variant->note(), errors.back(), most);
    }
    timed.push_back({variant->note(), INFINITY});
  }
  for (int trial = 0; trial < kTrials; ++trial) {
    for (size_t i = 0; i < variants.size(); ++i) {
      variants[i]->run(input);
      timed[i].min_ms = std::min(timed[i].min_ms, 1e3 * variants[i]->run(input).seconds);
    }
  }
  const auto fastest = std::ranges::min_element(timed, {}, &TimedVariant::min_ms);
  const auto best = static_cast<size_t>(fastest - timed.begin());
  return {std::move(variants[best]), std::move(timed), errors[best]};
}

}  // namespace lasnet::cli
