#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "backends/cuda/tiles.h"
#include "base/fail.h"
#include "base/random.h"
#include "base/statistics.h"
#include "calibrate/validation.h"
#include "engine/executable.h"

namespace lasnet {
namespace {

/// Repeated measurements of one thing.
class Repeated {
 public:
  void add(double seconds) { seconds_.push_back(seconds); }
  double seconds() const { return median(seconds_); }
  /// How far the least of the odd and of the even ones differ.
  double noise() const {
    if (seconds_.size() < 2) return 0;
    double halves[2] = {INFINITY, INFINITY};
    for (size_t i = 0; i < seconds_.size(); ++i) halves[i % 2] = std::min(halves[i % 2], seconds_[i]);
    return std::abs(halves[0] - halves[1]) / std::min(halves[0], halves[1]);
  }

 private:
  std::vector<double> seconds_;
};

/// A network's time as a graph, and its blocks' when launched one by one.
struct RunTimes {
  Repeated network;
  std::vector<Repeated> blocks;
};

/// What a session ran.
struct RanCase {
  const ModelSpec& spec;
  Precision precision;
  int64_t batch;
  MaskerSchedule masker;
  double rate = 1;
  bool dense = false;
};

class CudaValidator {
 public:
  CudaValidator(const HardwareProfile& hardware, const CudaValidationOptions& options,
                const ValidationProgress& progress)
      : hardware_(hardware), options_(options), progress_(progress), random_(options.seed, "validate") {
    if (hardware.kind() != HardwareKind::cuda) {
      fail("validation: hardware {} is not of the CUDA kernels", hardware.name);
    }
    if (cuda_devices().empty()) fail("validation on a CUDA device: {}", cuda_unavailable_reason());
    const int64_t batch = *std::max_element(options.batches.begin(), options.batches.end());
    input_ = Tensor({batch, 3, options.size.height, options.size.width});
    for (float& value : input_.data) value = static_cast<float>(random_.uniform(-1, 1));
  }

  Validation run() {
    const auto steps = static_cast<double>(options_.networks.size() * options_.precisions.size() *
                                           options_.granularities.size());
    double done = 0;
    for (const std::string& name : options_.networks) {
      ArchConfig arch;
      arch.name = name;
      arch.width = options_.width;
      arch.granularity = options_.granularities.front();
      Model model;
      model.spec = make_spec(arch);
      model.weights = random_weights(model.spec, options_.seed);  // whatever S is
      for (const Precision precision : options_.precisions) {
        static_s_.clear();
        for (const std::vector<int>& granularity : options_.granularities) {
          arch.granularity = granularity;
          model.spec = make_spec(arch);
          progress_(done++ / steps, fmt::format("{} S {}, {}", name, granularity_to_string(granularity),
                                                to_string(precision)));
          validate_network(model, precision);
        }
      }
    }
    progress_(1, "");
    add_choices();
    std::vector<double> noises;
    for (const ValidationPoint& point : validation_.points) noises.push_back(point.noise);
    validation_.noise = median(std::move(noises));
    return std::move(validation_);
  }

 private:
  void validate_network(const Model& model, Precision precision) {
    if (!runs_precision(cuda_devices().front().compute_capability, precision)) {
      validation_.skipped.push_back(fmt::format("{}, {}: this device has no such tensor cores",
                                                model.spec.arch.name, to_string(precision)));
      return;
    }
    for (const MaskerSchedule masker : options_.maskers) {
      const NetworkSchedule plan = uniform_schedule(model.spec, {.masker = masker});
      const DeviceCalibration calibration{[&](const std::string&) { return std::optional(hardware_); }, {}};
      Session session(make_cuda_executable(model, precision, plan, calibration), 1);
      for (const int64_t batch : options_.batches) {
        try {
          validate_batch(session, {model.spec, precision, batch, masker});
        } catch (const Error& error) {
          if (batch == 1) throw;  // not a matter of memory
          validation_.skipped.push_back(fmt::format("{} S {}, batch {}, {}: {}", model.spec.arch.name,
                                                    granularity_to_string(model.spec.arch.granularity), batch,
                                                    to_string(precision), error.what()));
        }
      }
    }
  }

  void validate_batch(Session& session, RanCase ran) {
    const NetworkGeometry geometry = network_geometry(ran.spec, options_.size);
    if (static_s_.find(ran.batch) == static_s_.end()) {
      RanCase dense = ran;
      dense.dense = true;
      const RunTimes times = time_run(session, dense, nullptr);
      static_s_[ran.batch] = times.network.seconds();
      add_points(dense, times, predict(dense, nullptr));
    }
    for (const double rate : options_.rates) {
      std::vector<BlockActivity> activities;
      const std::vector<double> rates(ran.spec.blocks.size(), rate);
      const MaskSet masks = draw_masks(ran.spec, geometry, ran.batch, rates, random_, activities);
      ran.rate = rate;
      const RunTimes times = time_run(session, ran, &masks);
      const NetworkLatency predicted = predict(ran, &masks);
      add_points(ran, times, predicted);
      validation_.networks.push_back({.network = ran.spec.arch.name,
                                      .granularity = granularity_to_string(ran.spec.arch.granularity),
                                      .batch = ran.batch,
                                      .precision = ran.precision,
                                      .masker = ran.masker,
                                      .rate = rate,
                                      .measured_static_s = static_s_[ran.batch],
                                      .measured_dynamic_s = times.network.seconds(),
                                      .predicted_static_s = predicted.static_s,
                                      .predicted_dynamic_s = predicted.dynamic_s});
    }
  }

  RunTimes time_run(Session& session, const RanCase& ran, const MaskSet* masks) const {
    const TensorView input{
        {ran.batch, 3, options_.size.height, options_.size.width},
        std::span(input_.data).first(static_cast<size_t>(ran.batch * input_.size() / input_.shape[0]))};
    RunOptions run{.dense = ran.dense, .force_masks = masks, .record_masks = false};
    RunTimes times;
    times.blocks.resize(ran.spec.blocks.size());
    for (const bool time_blocks : {false, true}) {
      run.time_blocks = time_blocks;
      if (!time_blocks) session.run(input, run);  // makes the graph, and everything warm
      for (int i = 0; i < options_.repeat; ++i) {
        const Trace trace = session.run(input, run).trace;
        if (!time_blocks) times.network.add(trace.seconds);
        for (size_t b = 0; time_blocks && b < times.blocks.size(); ++b)
          times.blocks[b].add(trace.blocks[b].seconds);
      }
    }
    return times;
  }

  /// Under the schedule that ran.
  NetworkLatency predict(const RanCase& ran, const MaskSet* masks) const {
    const bool half = ran.precision == Precision::fp16 || ran.precision == Precision::bf16;
    return predict_latency(ran.spec, hardware_,
                           {.size = options_.size,
                            .batch = ran.batch,
                            .precision = half ? Precision::fp16 : Precision::fp32,
                            .rate = ran.rate,
                            .masks = masks,
                            .schedule = {.masker = ran.masker,
                                         .gather = GatherSchedule::indirect,
                                         .scatter = ScatterSchedule::in_place}});
  }

  void add_points(const RanCase& ran, const RunTimes& times, const NetworkLatency& predicted) {
    for (size_t b = 0; b < times.blocks.size(); ++b) {
      const BlockSpec& block = ran.spec.blocks[b];
      validation_.points.push_back(
          {.network = ran.spec.arch.name,
           .stage = block.stage,
           .granularity = ran.dense ? 0 : block.granularity,
           .schedule = to_string(predicted.blocks[b].schedule),
           .rate = ran.rate,
           .batch = ran.batch,
           .precision = ran.precision,
           .measured_s = times.blocks[b].seconds(),
           .predicted_s = ran.dense ? predicted.blocks[b].static_s : predicted.blocks[b].dynamic_s,
           .noise = times.blocks[b].noise()});
    }
  }

  /// Between the granularities of whole networks, and between the maskers.
  void add_choices() {
    const auto granularity = [](const NetworkComparison& network) { return network.granularity; };
    const auto masker = [](const NetworkComparison& network) {
      return "masker=" + to_string(network.masker);
    };
    validation_.granularities = choices_between(granularity, masker);
    validation_.schedules = choices_between(masker, granularity);
  }

  /// Options differ by `name`, choices by `same` and by what was run.
  template <typename Name, typename Same>
  std::vector<Choice> choices_between(const Name& name, const Same& same) const {
    std::map<std::tuple<std::string, std::string, int64_t, Precision, double>, Choice> choices;
    for (const NetworkComparison& network : validation_.networks) {
      Choice& choice =
          choices[{network.network, same(network), network.batch, network.precision, network.rate}];
      choice.rate = network.rate;
      choice.options.push_back({name(network), network.measured_dynamic_s, network.predicted_dynamic_s});
    }
    std::vector<Choice> list;
    for (auto& [key, choice] : choices) {
      const auto least =
          std::min_element(choice.options.begin(), choice.options.end(),
                           [](const auto& a, const auto& b) { return a.predicted_s < b.predicted_s; });
      choice.chosen = static_cast<size_t>(least - choice.options.begin());
      list.push_back(std::move(choice));
    }
    return list;
  }

  const HardwareProfile& hardware_;
  const CudaValidationOptions& options_;
  const ValidationProgress& progress_;
  Random random_;
  Tensor input_;
  std::map<int64_t, double> static_s_;  ///< of the network and precision that run, by batch
  Validation validation_;
};

}  // namespace

Validation validate_cuda(const HardwareProfile& hardware, const CudaValidationOptions& options,
                         const ValidationProgress& progress) {
  return CudaValidator(hardware, options, progress).run();
}

}  // namespace lasnet
