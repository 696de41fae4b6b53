#include "calibrate/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register_tile.h"
#include "base/stopwatch.h"
#include "base/thread_pool.h"
#include "calibrate/fma_peak.h"
#include "lasnet/geometry.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

/// Steps of one run of the reference kernel: about 30 microseconds, shorter than a scheduler's slice.
constexpr int64_t kReferenceSteps = 8000;
/// Long enough to meet a quiet moment.
constexpr double kPeakSeconds = 0.02;
/// The quickest of so many runs tells the processor's pace now.
constexpr int kReferenceRuns = 5;

double time_reference(const CpuKernels& kernels, int runs, TimeSource time) {
  volatile float sink = 0;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    Stopwatch watch(time);
    sink = kernels.fma_chains(kReferenceSteps);
    best = std::min(best, watch.seconds());
  }
  (void)sink;
  return best;
}

/// Minima of two interleaved halves of the repetitions.
struct QuietPair {
  double halves[2] = {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};

  void add(int repetition, double units) {
    double& half = halves[repetition % 2];
    half = std::min(half, units);
  }
};

Tensor noise_input(int64_t batch, MapSize size, Random& random) {
  Tensor input({batch, 3, size.height, size.width});
  for (float& value : input.data) value = static_cast<float>(random.uniform(-1, 1));
  return input;
}

/// Of random weights, which are quantized for int8.
Model measured_model(const MeasuredCase& measured, Precision precision, uint64_t seed) {
  Model model;
  model.spec = make_spec(measured.arch);
  model.weights = random_weights(model.spec, seed);
  if (precision != Precision::int8) return model;
  Random random(seed, "quantize");
  const CalibrationImages images{.count = 1,
                                 .read = [&](int64_t) { return noise_input(1, measured.size, random); }};
  return quantize(model, images, {.method = QuantizationMethod::minmax});
}

/// Times of a run under one deal of rates.
class RunTimer {
 public:
  RunTimer(Session& session, const Tensor& input, const MaskSet* masks)
      : session_(session),
        input_(input),
        options_{.dense = masks == nullptr,
                 .force_masks = masks,
                 .record_masks = false,
                 .thread_time = session.threads() == 1},
        time_(options_.thread_time ? TimeSource::thread : TimeSource::wall),
        kernels_(cpu_kernels(session.isa())),
        blocks_(session.spec().blocks.size()) {}

  void repeat(int repetition) {
    if (repetition == 0) session_.run(input_, options_);
    const double before = time_reference(kernels_, kReferenceRuns, time_);
    const Trace trace = session_.run(input_, options_).trace;
    const double reference = std::min(before, time_reference(kernels_, kReferenceRuns, time_));
    double rest = trace.seconds;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      blocks_[b].add(repetition, trace.blocks[b].seconds / reference);
      rest -= trace.blocks[b].seconds;
    }
    fixed_.add(repetition, rest / reference);
    whole_.add(repetition, trace.seconds / reference);
  }

  const QuietPair& block(size_t index) const { return blocks_[index]; }
  const QuietPair& fixed() const { return fixed_; }
  const QuietPair& whole() const { return whole_; }

 private:
  Session& session_;
  const Tensor& input_;
  RunOptions options_;
  TimeSource time_;
  const CpuKernels& kernels_;
  std::vector<QuietPair> blocks_;
  QuietPair fixed_, whole_;
};

std::vector<double> deal_rates(const MeasuredCase& measured, size_t blocks, size_t deal) {
  std::vector<double> rates(blocks, 1.0);
  for (size_t b = 0; b < blocks && !measured.rates.empty(); ++b) {
    rates[b] = measured.rates[(b + static_cast<size_t>(measured.offsets[deal])) % measured.rates.size()];
  }
  return rates;
}

}  // namespace

MaskSet draw_masks(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t batch,
                   const std::vector<double>& rates, Random& random, std::vector<BlockActivity>& activities) {
  MaskSet masks;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockGeometry& block = geometry.blocks[b];
    if (!spec.blocks[b].is_dynamic()) {
      activities.push_back({.rate = 1, .scenarios = {full_counts(block, batch)}});
      continue;
    }
    std::vector<uint8_t> patches(static_cast<size_t>(block.grid.patches() * batch));
    const auto active = static_cast<size_t>(std::llround(rates[b] * static_cast<double>(patches.size())));
    std::fill_n(patches.begin(), active, uint8_t{1});
    random.shuffle(patches);
    ByteTensor mask({batch, block.output.height, block.output.width});
    const auto pixels = static_cast<size_t>(block.output.pixels());
    const auto per_image = static_cast<size_t>(block.grid.patches());
    for (size_t n = 0; n < static_cast<size_t>(batch); ++n) {
      expand_patches(block.grid, std::span(patches).subspan(n * per_image, per_image),
                     std::span(mask.data).subspan(n * pixels, pixels));
    }
    activities.push_back(recorded_activity(block, batch, patches));
    masks[spec.blocks[b].name] = std::move(mask);
  }
  return masks;
}

double reference_seconds(Isa isa) { return time_reference(cpu_kernels(isa), 200, TimeSource::thread); }

double tile_step_seconds(Isa isa) {
  const RegisterTile tile = register_tile(isa);
  return 2.0 * tile.full_pixels(tile.vectors) * tile.block_width() / fma_peak_flops(isa, kPeakSeconds);
}

double loop_seconds(Isa isa, int threads) {
  constexpr int kLoops = 2000;
  const CpuKernels& kernels = cpu_kernels(isa);
  // A share long enough that every thread takes one.
  const auto share = [&](int64_t, int) { kernels.fma_chains(kReferenceSteps / 4); };
  // Of the quickest tenth: where another process holds a core, shares run one after the other.
  const auto quiet = [&](ThreadPool& pool) {
    std::vector<double> seconds;
    for (int i = 0; i < kLoops; ++i) {
      Stopwatch watch;
      pool.parallel_for(pool.threads(), share);
      seconds.push_back(watch.seconds());
    }
    std::nth_element(seconds.begin(), seconds.begin() + kLoops / 10, seconds.end());
    return seconds[kLoops / 10];
  };
  ThreadPool alone(1), together(threads);
  const double one = quiet(alone);
  return std::max(0.0, quiet(together) - one);
}

std::vector<MeasuredRun> measure_case(const MeasuredCase& measured, const MeasureOptions& options,
                                      const CpuHardware& machine, const MeasureProgress& progress) {
  Stopwatch watch;
  const ModelSpec spec = make_spec(measured.arch);
  const NetworkGeometry geometry = network_geometry(spec, measured.size);
  const NetworkSchedule plan = uniform_schedule(spec, measured.schedule);
  const Model model = measured_model(measured, machine.precision(), options.seed);
  Session session(make_executable(model, Backend::cpu, machine.isa, plan, machine.precision()),
                  measured.threads);
  const std::vector<CpuBlockProgram> programs = cpu_programs(spec, geometry, plan);
  Random random(options.seed, "measure");
  const Tensor input = noise_input(measured.batch, measured.size, random);
  const CpuContext context = cpu_context(spec, machine, measured.batch, measured.threads);
  const bool dynamic = !measured.rates.empty();
  const auto deals = static_cast<double>(measured.offsets.size());

  std::vector<MeasuredRun> runs;
  for (size_t deal = 0; deal < measured.offsets.size(); ++deal) {
    MeasuredRun run{.of = measured, .rates = deal_rates(measured, spec.blocks.size(), deal), .samples = {}};
    std::vector<BlockActivity> activities;
    const MaskSet masks = draw_masks(spec, geometry, measured.batch, run.rates, random, activities);
    RunTimer timer(session, input, dynamic ? &masks : nullptr);
    const double until = (static_cast<double>(deal) + 1) / deals * options.budget_s;
    const double enough = watch.seconds() + options.min_seconds;
    const auto goes_on = [&](int i) {
      if (i < options.min_repeat || watch.seconds() < enough) return true;
      return i < options.max_repeat && watch.seconds() < until;
    };
    for (int i = 0; goes_on(i); ++i) {
      timer.repeat(i);
      const double share = std::min(1.0, static_cast<double>(i + 1) / options.max_repeat);
      progress((static_cast<double>(deal) + share) / deals);
    }
    const auto add = [&](std::optional<size_t> block, const WorkCounts& counts, const QuietPair& quiet) {
      run.samples.push_back({.network = spec.arch.name,
                             .size = measured.size,
                             .batch = measured.batch,
                             .threads = measured.threads,
                             .block = block,
                             .dynamic = dynamic && block && spec.blocks[*block].is_dynamic(),
                             .spec = block ? spec.blocks[*block] : BlockSpec{},
                             .geometry = block ? geometry.blocks[*block] : BlockGeometry{},
                             .activity = block ? activities[*block] : BlockActivity{},
                             .plan = block ? plan.blocks[*block] : BlockSchedule{},
                             .program = block ? programs[*block] : CpuBlockProgram{},
                             .counts = counts,
                             .units = quiet.halves[0],
                             .units_again = quiet.halves[1]});
    };
    for (size_t b = 0; b < spec.blocks.size(); ++b) {
      const CpuBlockPrice of{spec.blocks[b], geometry.blocks[b], context, programs[b]};
      const bool masked = dynamic && spec.blocks[b].is_dynamic();
      add(b, total(masked ? masked_work(of, activities[b].scenarios.front()) : unmasked_work(of)),
          timer.block(b));
    }
    add(std::nullopt, total(fixed_work(spec, geometry, context)), timer.fixed());
    run.units = timer.whole().halves[0];
    run.units_again = timer.whole().halves[1];
    runs.push_back(std::move(run));
  }
  return runs;
}

}  // namespace lasnet
