#include "bench_run.h"

#include "base/fail.h"
#include "bench_sweep.h"
#include "input_options.h"
#include "lasnet/geometry.h"
#include "lasnet/quantize.h"
#include "log.h"
#include "model_options.h"
#include "progress.h"
#include "random_masks.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

/// Scales from random inputs, as the network is then timed on.
Model quantize_on_random_inputs(const Model& model, const BenchOptions& options) {
  constexpr int64_t kImages = 2;
  const MapSize size = options.size.value_or(MapSize{model.preprocessing.crop, model.preprocessing.crop});
  BenchInputs inputs("", model.preprocessing, size, 1, 1, options.seed, {});
  return quantize(model, {.count = kImages, .read = [&](int64_t) { return inputs.next(); }},
                  {.session = {.isa = options.session.isa}});
}

/// The architecture with random weights, or the file's network.
Model open_model(const BenchOptions& options) {
  Model model;
  if (options.is_architecture()) {
    ArchConfig arch;
    arch.name = options.model.path;
    model.spec = make_spec(apply(options.model, arch));
    model.weights = random_weights(model.spec, options.seed);
    if (options.session.precision == Precision::int8) model = quantize_on_random_inputs(model, options);
  } else {
    model = load_model(options.model);
  }
  if (!model.spec.arch.is_dynamic()) {
    throw UsageError(
        fmt::format("{}: a static network has no masks; give it a granularity, e.g. --granularity 4-4-2-1",
                    options.model.path));
  }
  return model;
}

/// Photographs are cropped to squares; `size` becomes the preprocessing's.
Preprocessing preprocessing_for(const BenchOptions& options, const Model& model) {
  InputOptions input;
  if (options.size) {
    if (options.size->height != options.size->width && !options.images.empty()) {
      throw UsageError("--size: photographs are cropped to squares; give one side");
    }
    input.size = static_cast<int>(options.size->height);
  } else if (model.preprocessing.crop == 0) {
    input.size = model.preprocessing.resize;
  }
  return apply(input, model.preprocessing);
}

ChosenBaseline open_baseline(const BenchOptions& options, const Model& model, MapSize size, Session& session,
                             const Tensor& input) {
  if (options.baseline == BaselineKind::none) return {};
  if (!model.spec.has_head()) {
    throw UsageError(
        fmt::format("--baseline: logits are compared before anything is timed, and {} is a backbone, which "
                    "has none; leave out --baseline",
                    options.model.path));
  }
  return choose_baseline(
      make_onednn_baselines(model, {options.batch, size}, options.session.threads, options.session.precision),
      session, input);
}

BenchReport report_of(const BenchOptions& options, const Model& model, const Session& session, MapSize size,
                      const std::optional<double>& rate) {
  return {.model = options.model.path,
          .arch = model.spec.arch,
          .size = size,
          .batch = options.batch,
          .kernels = {session.backend(), session.isa(), session.precision(), session.threads()},
          .schedule = options.session.schedule,
          .rate = rate,
          .operating = {},
          .features = options.features ? chosen_maps(options.maps, model.spec) : std::vector<std::string>{},
          .photographs = 0,
          .photographs_found = 0,
          .static_macs = static_macs(model.spec, size),
          .measured = {},
          .baseline = {},
          .reproduce = reproduce(options, session.isa(), size)};
}

/// Speed without a result is worth knowing, but not unawares.
void warn_if_not_finite(const BenchOptions& options, const Measurements& measured) {
  if (measured.finite) return;
  log_warning(
      fmt::format("{}: some of the logits were not finite numbers (lasnet forward --check-finite names the "
                  "first layer), which may change the times",
                  options.model.path));
}

}  // namespace

BenchReport bench(const BenchOptions& options, const BenchProgress& progress) {
  const Model model = open_model(options);
  const Preprocessing preprocessing = preprocessing_for(options, model);
  const MapSize size = options.size.value_or(MapSize{preprocessing.crop, preprocessing.crop});
  const NetworkGeometry geometry = network_geometry(model.spec, size);
  warn_of_patches_beyond_maps(model.spec, geometry);
  std::optional<double> rate = options.rate;
  if (options.macs) rate = rate_for_macs(model.spec, geometry, *options.macs, options.seed);
  const OperatingChoice operating = operating_choice(options.operating, model, options.session, size);
  BenchInputs inputs(options.images, preprocessing, size, options.batch, options.repeat, options.seed,
                     decode_options(options.decode));
  Session session = open_session(model, options.session);
  check_run_memory(session, size, options.batch);
  if (!options.save.empty()) save_model(model, options.save);
  BenchReport report = report_of(options, model, session, size, rate);
  report.operating = operating;
  report.photographs = inputs.photographs();
  report.photographs_found = inputs.photographs_found();
  report.baseline = open_baseline(options, model, size, session, inputs.next());
  report.measured = measure(session, report.baseline.baseline.get(), inputs,
                            {.repeat = options.repeat,
                             .rate = rate,
                             .seed = options.seed,
                             .thresholds = operating.thresholds,
                             .features = report.features,
                             .feature_layout = options.maps.layout},
                            progress);
  warn_if_not_finite(options, report.measured);
  return report;
}

std::string sweep(BenchOptions options) {
  constexpr int kGranularities[] = {1, 2, 4, 7, 8};
  constexpr int kRates = 10;
  prepare_sweep(options.sweep, options.model.path);
  std::vector<SweepRow> rows;
  Progress progress("sweep", std::size(kGranularities) * kRates, "points");
  std::string title;
  for (const int granularity : kGranularities) {
    options.model.granularity = {granularity, granularity, granularity, granularity};
    const Model model = open_model(options);
    const Preprocessing preprocessing = preprocessing_for(options, model);
    const MapSize size = options.size.value_or(MapSize{preprocessing.crop, preprocessing.crop});
    BenchInputs inputs(options.images, preprocessing, size, options.batch, options.repeat, options.seed,
                       decode_options(options.decode));
    Session session = open_session(model, options.session);
    check_run_memory(session, size, options.batch);
    title = fmt::format("{}, {} x {} px, batch {}, {}, {} thread{}: sparse over dense", options.model.path,
                        size.height, size.width, options.batch, to_string(session.isa()), session.threads(),
                        session.threads() == 1 ? "" : "s");
    for (int step = 1; step <= kRates; ++step) {
      const double rate = static_cast<double>(step) / kRates;
      BenchReport report = report_of(options, model, session, size, rate);
      report.measured =
          measure(session, nullptr, inputs, {.repeat = options.repeat, .rate = rate, .seed = options.seed},
                  [](const Measurements&) {});
      warn_if_not_finite(options, report.measured);
      const std::vector<SweepRow> of_point = sweep_rows(report, granularity);
      rows.insert(rows.end(), of_point.begin(), of_point.end());
      progress.update(static_cast<int64_t>(rows.size() / of_point.size()),
                      fmt::format("S {}, rate {:.1f}: {:.2f}x", granularity, rate, of_point.back().speedup));
    }
  }
  write_sweep(rows, title, options.sweep, options.model.path);
  return fmt::format("{}\n\n{}\n  written {}/{}.csv and .svg\n", bold(title), to_text(rows), options.sweep,
                     options.model.path);
}

}  // namespace lasnet::cli
