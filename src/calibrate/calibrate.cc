#include "calibrate/calibrate.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/fail.h"
#include "base/statistics.h"
#include "base/stopwatch.h"

namespace lasnet {
namespace {

/// Fewest and most repetitions of a run: minima of fewer are not quiet, more add nothing.
constexpr int kMinRepeat = 4, kMaxRepeat = 24;
/// Blocks whose masks are empty or full are measured too: there, what does not depend on the mask shows.
const std::vector<double> kRates = {0.15, 0.35, 0, 0.55, 0.8, 0.25, 1};

ArchConfig network(const char* name, double width, std::vector<int> granularity) {
  ArchConfig arch;
  arch.name = name;
  arch.width = width;
  arch.granularity = std::move(granularity);
  return arch;
}

/// Widths and sizes that no ordinary network has. Static runs beside dynamic ones; the later cases show
/// Squeeze-and-Excitation-free BasicBlocks, batches and threads.
std::vector<MeasuredCase> cases(int cores, Precision precision) {
  const MapSize small{160, 160}, large{192, 192};
  std::vector<MeasuredCase> all = {
      {.arch = network("resnet50", 0.75, {4, 4, 2, 1}),
       .size = large,
       .rates = kRates,
       .offsets = {0, 1, 2, 3}},
      {.arch = network("resnet50", 0.75, {1, 2, 1, 2}), .size = large, .rates = kRates, .offsets = {0, 2}},
      {.arch = network("resnet50", 0.75, {16, 12, 12, 6}), .size = large, .rates = kRates, .offsets = {0, 3}},
      {.arch = network("resnet50", 0.75, {}), .size = large},
      {.arch = network("resnet50", 1.25, {8, 5, 5, 5}), .size = small, .rates = kRates, .offsets = {0, 1}},
      {.arch = network("resnet50", 1.25, {}), .size = small},
      {.arch = network("resnet18", 1.25, {2, 2, 2, 2}), .size = small, .rates = kRates, .offsets = {0, 1}},
      {.arch = network("resnet18", 1.25, {}), .size = small},
      // Few channels: short runs, and tiles with little to do. Weights that stay in the last-level cache.
      {.arch = network("resnet18", 0.125, {2, 4, 1, 2}), .size = large, .rates = kRates, .offsets = {0, 1}},
      {.arch = network("resnet18", 0.125, {}), .size = large},
      {.arch = network("resnet18", 0.375, {4, 2, 2, 1}), .size = large, .rates = kRates, .offsets = {0, 1}},
      {.arch = network("resnet18", 0.375, {}), .size = large},
      {.arch = network("resnet50", 0.375, {4, 4, 2, 1}), .size = large, .rates = kRates, .offsets = {0, 3}},
      {.arch = network("resnet50", 0.375, {}), .size = large},
      {.arch = network("resnet50", 0.75, {4, 4, 2, 1}),
       .size = small,
       .batch = 6,
       .rates = kRates,
       .offsets = {0, 2}},
      {.arch = network("resnet50", 0.75, {}), .size = small, .batch = 6},
      // Maps that exceed the caches.
      {.arch = network("resnet50", 0.75, {4, 4, 2, 1}),
       .size = large,
       .batch = 16,
       .rates = kRates,
       .offsets = {0, 3}},
  };
  for (const BlockSchedule& schedule :
       {BlockSchedule{.masker = MaskerSchedule::separate},
        BlockSchedule{.masker = MaskerSchedule::with_conv1}, BlockSchedule{.gather = GatherSchedule::copied},
        BlockSchedule{.scatter = ScatterSchedule::separate},
        BlockSchedule{.traversal = Traversal::row_bands}}) {
    if (precision == Precision::int8) break;  // whose kernels have one schedule
    all.push_back({.arch = network("resnet50", 0.75, {4, 4, 2, 1}),
                   .size = large,
                   .schedule = schedule,
                   .rates = kRates,
                   .offsets = {0, 3}});
  }
  if (cores > 1) {
    all.push_back({.arch = network("resnet50", 0.75, {4, 4, 2, 1}),
                   .size = large,
                   .threads = cores,
                   .rates = kRates,
                   .offsets = {0, 1, 2}});
    all.push_back({.arch = network("resnet50", 0.75, {}), .size = large, .threads = cores});
    all.push_back({.arch = network("resnet50", 0.75, {2, 2, 2, 2}),
                   .size = small,
                   .batch = 6,
                   .threads = cores,
                   .rates = kRates,
                   .offsets = {0, 2}});
  }
  return all;
}

FitRow row_of(const Sample& sample, double reference_s) {
  return {sample.counts, sample.quiet() * reference_s};
}

FitQuality quality(const std::vector<FitRow>& rows, const CpuHardware& cpu) {
  std::vector<double> predicted, measured;
  for (const FitRow& row : rows) {
    predicted.push_back(seconds(row.counts, cpu));
    measured.push_back(row.seconds);
  }
  return fit_quality(predicted, measured);
}

/// Every run of a case but its last goes to the fit where there are several.
void split(const std::vector<std::vector<MeasuredRun>>& runs, double reference_s, std::vector<FitRow>& fitted,
           std::vector<FitRow>& held_out) {
  for (const std::vector<MeasuredRun>& of_case : runs) {
    for (size_t deal = 0; deal < of_case.size(); ++deal) {
      const bool hold = of_case.size() > 1 && deal + 1 == of_case.size();
      for (const Sample& sample : of_case[deal].samples) {
        (hold ? held_out : fitted).push_back(row_of(sample, reference_s));
      }
    }
  }
}

double median_noise(const std::vector<std::vector<MeasuredRun>>& runs) {
  std::vector<double> noises;
  for (const auto& of_case : runs) {
    for (const MeasuredRun& run : of_case) {
      for (const Sample& sample : run.samples) noises.push_back(sample.noise());
    }
  }
  return median(std::move(noises));
}

}  // namespace

Calibration calibrate_cpu(const CpuHardware& machine, const CalibrationOptions& options,
                          const CalibrationProgress& progress) {
  const std::vector<MeasuredCase> all = cases(machine.cores, machine.precision());
  Stopwatch watch;
  const double reference_s = reference_seconds(machine.isa);
  std::vector<std::vector<MeasuredRun>> runs;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto done = static_cast<double>(i), cases = static_cast<double>(all.size());
    // Each case may take its share of what is left.
    const double until = watch.seconds() + (options.budget_s - watch.seconds()) / (cases - done);
    const std::string name =
        fmt::format("{} x{:g}, batch {}, {} thread{}", all[i].arch.name, all[i].arch.width, all[i].batch,
                    all[i].threads, all[i].threads == 1 ? "" : "s");
    runs.push_back(measure_case(all[i],
                                {.min_repeat = kMinRepeat,
                                 .max_repeat = kMaxRepeat,
                                 .budget_s = until - watch.seconds(),
                                 .seed = options.seed},
                                machine, [&](double share) { progress((done + share) / cases, name); }));
  }
  std::vector<FitRow> fitted, held_out;
  split(runs, reference_s, fitted, held_out);
  Calibration calibration;
  CpuHardware cpu = machine;
  std::vector<FitRow> of_one_thread;
  std::copy_if(fitted.begin(), fitted.end(), std::back_inserter(of_one_thread),
               [](const FitRow& row) { return row.counts[static_cast<size_t>(WorkUnit::loop)] == 0; });
  // What can be measured by itself is not fitted: tiles would hide in the steps, and loops would
  // drown in the wall times of several threads.
  auto known = machine.seconds_per;
  const bool fp32 = machine.precision() == Precision::fp32;
  if (fp32) known[static_cast<size_t>(WorkUnit::tile_step)] = tile_step_seconds(machine.isa);
  if (machine.cores > 1) {
    known[static_cast<size_t>(WorkUnit::loop)] = loop_seconds(machine.isa, machine.cores);
  }
  cpu.seconds_per = fp32 ? fit_costs(of_one_thread, known, {WorkUnit::tile_step, WorkUnit::loop})
                         : fit_costs(of_one_thread, known, {WorkUnit::loop});
  calibration.profile.name = cpu_profile_name(machine);
  calibration.profile.facts = std::make_shared<HardwareFacts>(cpu);
  calibration.profile.description = fmt::format(
      "{}, {} kernels", machine.processor, fp32 ? to_string(machine.isa) : "int8 " + machine.int8_kernels);
  calibration.fitted = fitted.size();
  calibration.fit = quality(fitted, cpu);
  calibration.held_out = quality(held_out, cpu);
  calibration.noise = median_noise(runs);
  calibration.seconds = watch.seconds();
  calibration.profile.source = fmt::format(
      "measured: lasnet calibrate, {} block runs; on {} others MAPE {:.1f} %, {:.0f} % within 10 %",
      fitted.size(), held_out.size(), 100 * calibration.held_out.mape, 100 * calibration.held_out.within_10);
  return calibration;
}

}  // namespace lasnet
