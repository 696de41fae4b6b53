#include "sweep_evaluation.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "classes.h"
#include "eval_data.h"
#include "lasnet/hardware.h"
#include "lasnet/latency.h"
#include "log.h"
#include "machine.h"
#include "part_store.h"
#include "progress.h"
#include "random_masks.h"
#include "train/deployment.h"
#include "train/digest.h"
#include "train/measured_time.h"

namespace lasnet::cli {
namespace {

constexpr size_t kBatch = 32, kTimedImages = 64;

/// Of the images that the static network sees to be as fast as a dynamic one.
std::vector<int> smaller_sizes(int size) {
  constexpr double kParts[] = {0.625, 0.75, 0.875};
  constexpr int kStep = 16;
  std::vector<int> sizes;
  for (const double part : kParts) {
    const int smaller = static_cast<int>(part * size) / kStep * kStep;
    const bool is_new = sizes.empty() || sizes.back() < smaller;
    if (is_new && smaller >= kMinTrainingSize && smaller < size) sizes.push_back(smaller);
  }
  return sizes;
}

/// Thrown to leave an evaluation that was asked to stop.
struct Stopped {};

class SweepEvaluation {
 public:
  SweepEvaluation(const SweepPlan& plan, const SweepOptions& options, const std::function<bool()>& stop)
      : plan_(plan),
        options_(options),
        stop_(stop),
        threads_(default_threads()),
        pool_(threads_),
        here_(deployment_here(plan)) {
    for (const std::string& name : options.hardware) hardware_.push_back(load_hardware(name));
  }

  SweepRow still(const TrainResult& result) {
    SweepRow row{.kind = "static",
                 .name = "static network",
                 .size = plan_.static_config.size,
                 .evaluation = result.static_eval};
    return with_times(std::move(row), load_model(result.static_path), /*dense=*/true);
  }

  SweepRow control(const TrainResult& result, const SweepRow& still) {
    SweepRow row = still;
    row.kind = "control", row.name = "static control", row.evaluation = result.control_eval;
    return row;
  }

  SweepRow dynamic(const SweepRun& run, const TrainResult& result) {
    const Model model = load_model(result.model_path);
    SweepRow row{.kind = "dynamic",
                 .name = run.name,
                 .granularity = granularity_to_string(model.spec.arch.granularity),
                 .seed = run.config.seed,
                 .size = run.config.size,
                 .evaluation = result.dynamic_eval};
    (run.config.budget_ms > 0 ? row.budget_ms : row.target) =
        run.config.budget_ms > 0 ? run.config.budget_ms : run.config.target;
    if (options_.rivals) {
      for (const MaskSource source : {MaskSource::random, MaskSource::centre, MaskSource::full})
        row.top1_with[to_string(source)] = accuracy(model, source, run.name).top1;
    }
    return with_times(std::move(row), model, /*dense=*/false);
  }

  /// The static network, or its control, on images of this side that show the same.
  SweepRow smaller(const std::string& path, int size) {
    Model model = load_model(path);
    model.preprocessing.resize = model.preprocessing.resize * size / model.preprocessing.crop;
    model.preprocessing.crop = size;
    SweepRow row{.kind = "smaller", .name = fmt::format("static network at {} px", size), .size = size};
    row.evaluation = accuracy(model, MaskSource::full, row.name);
    const MapSize whole{plan_.static_config.size, plan_.static_config.size};
    row.evaluation.macs_ratio = static_cast<double>(static_macs(model.spec, {size, size})) /
                                static_cast<double>(static_macs(model.spec, whole));
    return with_times(std::move(row), model, /*dense=*/true);
  }

  std::string measured_on() const {
    return fmt::format("batches of {}, {} thread{}", here_.query.batch, here_.query.threads,
                       here_.query.threads == 1 ? "" : "s");
  }

 private:
  static Deployment deployment_here(const SweepPlan& plan) {
    TrainConfig config = plan.deployed();
    config.hardware.clear();
    config.deploy_precision = Precision::fp32;
    return deployment_of(config, TrainObserver());
  }

  void check_stop() const {
    if (stop_()) throw Stopped();
  }

  Samples samples_of(const ImageFolder& folder, const Model& model, size_t begin, size_t end) {
    const TrainConfig& config = plan_.static_config;
    return load_samples(folder, {}, begin, std::min(end, folder.items.size()),
                        {.preprocessing = model.preprocessing,
                         .decode = {.max_pixels = config.max_pixels, .strict = config.strict_images},
                         .skip_unreadable = config.skip_unreadable},
                        pool_);
  }

  /// On all validation images.
  Evaluation accuracy(const Model& model, MaskSource source, const std::string& name) {
    const ImageFolder folder = open_validation(plan_.static_config.data, model);
    Session session(model, {.threads = threads_});
    Random random(plan_.static_config.seed, "masks");
    Progress progress(fmt::format("{}, {} masks", name, to_string(source)),
                      static_cast<int64_t>(folder.items.size()), "images");
    Evaluation figures;
    for (size_t begin = 0; begin < folder.items.size(); begin += kBatch) {
      check_stop();
      const Samples samples = samples_of(folder, model, begin, begin + kBatch);
      if (samples.read.empty()) continue;
      std::vector<Tensor> inputs;
      for (const Sample& sample : samples.read) inputs.push_back(sample.input);
      const Result result = run_with_masks(session, stack(inputs), source, {.record_masks = false}, random);
      for (size_t i = 0; i < samples.read.size(); ++i) {
        const auto classes = static_cast<size_t>(result.logits.shape[1]);
        const auto top =
            top_classes(result.logits.data.data() + i * classes, static_cast<int64_t>(classes), 5);
        figures.top1 += top.front() == samples.read[i].label;
        figures.top5 += std::ranges::find(top, samples.read[i].label) != top.end();
      }
      figures.images += static_cast<int64_t>(samples.read.size());
      progress.update(static_cast<int64_t>(begin + samples.read.size()));
    }
    figures.top1 /= static_cast<double>(figures.images);
    figures.top5 /= static_cast<double>(figures.images);
    return figures;
  }

  SweepRow with_times(SweepRow row, const Model& model, bool dense) {
    const MapSize size{row.size, row.size};
    for (const HardwareProfile& hardware : hardware_) {
      LatencyQuery query{
          .size = size, .batch = hardware.usual_batch(), .precision = hardware.usual_precision()};
      if (!dense) query.rates = row.evaluation.rates;
      const NetworkLatency latency = predict_latency(model.spec, hardware, query);
      row.predicted_ms[hardware.name] = 1e3 * (dense ? latency.static_s : latency.dynamic_s);
    }
    if (options_.timing) {
      const ImageFolder folder = open_validation(plan_.static_config.data, model);
      std::vector<Tensor> images;
      for (Sample& sample : samples_of(folder, model, 0, kTimedImages).read)
        images.push_back(std::move(sample.input));
      const auto measured = measure_time(model, images, here_, [this] { return !stop_(); });
      if (!measured) throw Stopped();
      row.measured_ms = dense ? measured->static_ms : measured->dynamic_ms;
    }
    return row;
  }

  const SweepPlan& plan_;
  const SweepOptions& options_;
  const std::function<bool()>& stop_;
  int threads_;
  ThreadPool pool_;
  Deployment here_;
  std::vector<HardwareProfile> hardware_;
};

/// Of what an evaluation depends on.
std::string key_of(const SweepPlan& plan, const SweepOptions& options) {
  const Json facts = {{"plan", to_json(plan)},
                      {"rivals", options.rivals},
                      {"timing", options.timing},
                      {"hardware", options.hardware}};
  return digest_of(facts.dump());
}

/// The rows of one sweep, evaluated unless the folder has them.
class StoredRows {
 public:
  StoredRows(const SweepPlan& plan, const SweepOptions& options)
      : store_(plan.output, key_of(plan, options)) {}

  template <typename Evaluate>
  SweepRow row(const std::string& name, const std::string& model, const Evaluate& evaluate) {
    const std::string digest = digest_of_file(model);
    const auto stored = store_.find(name);
    if (stored && stored->data.value("model", "") == digest) return row_from(stored->data["row"]);
    SweepRow row = evaluate();
    store_.put(name, {.seconds = 0, .data = {{"model", digest}, {"row", to_json(row)}}});
    return row;
  }

 private:
  PartStore store_;
};

}  // namespace

std::optional<SweepResults> evaluate_sweep(const SweepPlan& plan, const SweepOptions& options,
                                           const SweepTrained& trained,
                                           const std::function<bool()>& stop) try {
  SweepEvaluation evaluation(plan, options, stop);
  StoredRows rows(plan, options);
  SweepResults results{.plan = to_json(plan),
                       .processor = processor_name(),
                       .measured_on = options.timing ? evaluation.measured_on() : "",
                       .rows = {}};
  const std::string still_path = trained.still.static_path;
  results.rows.push_back(rows.row("static", still_path, [&] { return evaluation.still(trained.still); }));
  std::string rival = still_path;
  if (trained.still.control_eval.images > 0) {
    results.rows.push_back(evaluation.control(trained.still, results.rows.front()));
    rival = plan.file("static/control.safetensors");
  }
  if (options.rivals) {
    for (const int size : smaller_sizes(plan.static_config.size))
      results.rows.push_back(
          rows.row(fmt::format("smaller-{}", size), rival, [&] { return evaluation.smaller(rival, size); }));
  }
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    log_info(fmt::format("evaluating {} of {}: {}", i + 1, plan.runs.size(), plan.runs[i].name));
    results.rows.push_back(rows.row(plan.runs[i].name, trained.runs[i].model_path,
                                    [&] { return evaluation.dynamic(plan.runs[i], trained.runs[i]); }));
  }
  return results;
} catch (const Stopped&) {
  return std::nullopt;
}

}  // namespace lasnet::cli
