#include "lasnet/quantize.h"

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/enum_names.h"
#include "base/fail.h"
#include "base/thread_pool.h"
#include "engine/check_finite.h"
#include "engine/executable.h"
#include "lasnet/geometry.h"
#include "lasnet/schedule.h"
#include "quantize/layers.h"
#include "quantize/statistics.h"

namespace lasnet {
namespace {

constexpr auto kMethods =
    enum_names<QuantizationMethod>("method of quantization", {{QuantizationMethod::minmax, "minmax"},
                                                              {QuantizationMethod::percentile, "percentile"},
                                                              {QuantizationMethod::mse, "mse"}});

/// Fewer images than this say little about a network's maps.
constexpr int64_t kFewImages = 16;
/// A map that clips more than this share of the values has the wrong scale.
constexpr double kMuchClipped = 0.01;

int checked(int threads) {
  constexpr int kMaxThreads = 1024;
  if (threads < 1 || threads > kMaxThreads)
    fail("quantize: {} threads; expected 1 to {}", threads, kMaxThreads);
  return threads;
}

/// Runs images in fp32 and looks at every layer.
class Calibration {
 public:
  Calibration(const Model& model, const QuantizationOptions& options)
      : spec_(model.spec),
        statistics_(model.spec),
        input_(model.preprocessing),
        // In place: other schedules write maps that are no layer's output.
        runner_(make_executable(model, Backend::cpu, options.session.isa, uniform_schedule(model.spec))
                    ->make_runner(options.session.executor
                                      ? options.session.executor
                                      : std::make_shared<ThreadPool>(checked(options.session.threads)))) {}

  /// Returns how many could be read.
  int64_t run_all(const CalibrationImages& images, const std::function<void(double)>& progress) {
    int64_t read = 0;
    for (int64_t i = 0; i < images.count; ++i) {
      Tensor image = images.read(i);
      if (image.size() > 0) {
        run(image, false);
        last_ = std::move(image);
        ++read;
      }
      if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(images.count));
    }
    if (read == 0) fail("quantize: none of the {} images can be read", images.count);
    return read;
  }
  void run_last_densely() { run(last_, true); }

  MapStatistics& statistics() { return statistics_; }
  MapQuantization input() const { return input_.quantization(); }

 private:
  void run(const Tensor& image, bool dense) {
    if (image.shape.size() != 4 || image.shape[0] != 1 || image.shape[1] != 3)
      fail("quantize: an image of shape {}; expected [1, 3, H, W]", to_string(image.shape));
    check_finite_input(image);
    for (const float value : image.data) input_.add(value);
    const TensorView view = image;
    RunRequest request;
    request.input = &view;
    request.geometry = network_geometry(spec_, {image.shape[2], image.shape[3]});
    for (size_t i = 0; i < spec_.blocks.size(); ++i)
      request.macs.push_back(block_macs(spec_.blocks[i], request.geometry.blocks[i]));
    request.dense = dense;
    request.record_masks = false;
    request.thresholds.resize(spec_.blocks.size());
    request.forced_patches.resize(spec_.blocks.size());
    if (!dense) statistics_.add_image(spec_.stem.name, image);
    const LayerObserver observer{.wrote = [this](const LayerOutput& output) { statistics_.add(output); },
                                 .reads =
                                     [this, dense](const LayerOutput& input) {
                                       if (!dense) statistics_.add_input(input.layer, input);
                                     }};
    request.layers = &observer;
    Result result;
    runner_->run(request, result);
  }

  const ModelSpec& spec_;
  MapStatistics statistics_;
  InputRange input_;
  Tensor last_;  ///< image
  std::unique_ptr<Runner> runner_;
};

}  // namespace

std::string to_string(QuantizationMethod method) { return kMethods.name(method); }
QuantizationMethod parse_quantization_method(const std::string& text) { return kMethods.parse(text); }

Model quantize(const Model& model, const CalibrationImages& images, const QuantizationOptions& options) {
  if (model.quantization) fail("quantize: the model is quantized already; expected one in floating point");
  Calibration calibration(model, options);
  Quantization quantization{.method = to_string(options.method),
                            .images = calibration.run_all(images, options.progress),
                            .layers = {},
                            .maps = {}};
  // Blocks whose maskers let no image through.
  if (!calibration.statistics().keep_to_missing().empty()) calibration.run_last_densely();
  quantization.maps = calibration.statistics().quantizations(options.method);
  quantization.maps[kQuantizedInput] = calibration.input();
  quantize_layers(model, calibration.statistics().inputs(), options.method, quantization);
  check_quantization(model.spec, quantization, "quantize");
  Model quantized = model;
  quantized.weights = dequantized_weights(model.spec, quantization, model.weights);
  quantized.quantization = std::move(quantization);
  return quantized;
}

std::map<std::string, double> clipped_shares(const Model& model, const CalibrationImages& images,
                                             const QuantizationOptions& options) {
  if (!model.quantization) fail("clipped shares: the model is not quantized");
  Calibration calibration(model, options);
  calibration.run_all(images, options.progress);
  return calibration.statistics().clipped(model.quantization->maps);
}

std::vector<std::string> clipping_warnings(const std::map<std::string, double>& shares,
                                           const std::string& images) {
  std::vector<std::string> warnings;
  for (const auto& [map, share] : shares) {
    if (share <= kMuchClipped) continue;
    warnings.push_back(
        fmt::format("{}: the scale of the map {} clips {:.1f} % of its values; choose scales on images like "
                    "those that the network will see, or by another method",
                    images, map, 100 * share));
  }
  return warnings;
}

std::vector<std::string> calibration_warnings(const Quantization& quantization, const std::string& images) {
  std::map<std::string, double> shares;
  for (const auto& [name, map] : quantization.maps) shares[name] = map.clipped;
  std::vector<std::string> warnings = clipping_warnings(shares, images);
  if (quantization.images < kFewImages) {
    warnings.insert(warnings.begin(),
                    fmt::format("{}: scales were chosen on {} image{}; expected {} or more", images,
                                quantization.images, quantization.images == 1 ? "" : "s", kFewImages));
  }
  return warnings;
}

}  // namespace lasnet
