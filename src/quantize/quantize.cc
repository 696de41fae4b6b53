#include "lasnet/quantize.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "base/enum_names.h"
#include "base/fail.h"
#include "base/thread_pool.h"
#include "engine/check_finite.h"
#include "engine/executable.h"
#include "engine/fold.h"
#include "lasnet/geometry.h"
#include "quantize/histogram.h"

namespace lasnet {
namespace {

constexpr auto kMethods =
    enum_names<QuantizationMethod>("method of quantization", {{QuantizationMethod::minmax, "minmax"},
                                                              {QuantizationMethod::percentile, "percentile"},
                                                              {QuantizationMethod::mse, "mse"}});
constexpr int kLargestByte = 255;
constexpr int kLargestWeight = 127;

/// Of a map that is 0 everywhere, and of weights that are.
constexpr float kAnyScale = 1;

/// The mean of each channel that a layer reads.
class ChannelMeans {
 public:
  void add(const float* pixel, int64_t channels) {
    sums_.resize(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) sums_[c] += pixel[c];
    ++count_;
  }
  /// Zeros where nothing was read.
  std::vector<double> means(int64_t channels) const {
    std::vector<double> result(static_cast<size_t>(channels));
    for (size_t c = 0; c < sums_.size(); ++c) result[c] = sums_[c] / static_cast<double>(count_);
    return result;
  }

 private:
  std::vector<double> sums_;
  int64_t count_ = 0;
};

/// What runs show of a network's maps.
class MapStatistics {
 public:
  explicit MapStatistics(const ModelSpec& spec) : maps_(quantized_maps(spec)) {
    map_of_[spec.stem.name] = maps_.residual.front();
    for (size_t b = 0; b < spec.blocks.size(); ++b) {
      const std::vector<ConvSpec>& convs = spec.blocks[b].convs;
      for (size_t i = 0; i + 1 < convs.size(); ++i) {
        map_of_[convs[i].name] = maps_.inner[b][i];
        reader_of_[convs[i].name] = convs[i + 1].name;
      }
      map_of_[convs.back().name] = maps_.residual[b + 1];
      if (maps_.excited[b].empty()) continue;
      map_of_[maps_.excited[b]] = maps_.excited[b];
      reader_of_.erase(convs[convs.size() - 2].name);
      reader_of_[maps_.excited[b]] = convs.back().name;
    }
    for (const auto& [layer, map] : map_of_) histograms_[map];
  }

  /// Of a layer's computed pixels; a projection's are no map.
  void add(const LayerOutput& output) {
    const auto map = map_of_.find(output.layer);
    if (map == map_of_.end()) return;
    Histogram& histogram = histograms_.at(map->second);
    if (only_missing_ && !missing_.contains(map->second)) return;
    check_finite(output);
    for (int64_t p = 0; p < output.pixels.count; ++p) {
      const float* pixel = output.data + output.pixels.out[p] * output.pitch;
      histogram.add({pixel, static_cast<size_t>(output.channels)});
    }
    const auto reader = reader_of_.find(output.layer);
    if (reader != reader_of_.end()) add_input(reader->second, output);
  }

  /// What a layer reads.
  void add_input(const std::string& layer, const LayerOutput& input) {
    ChannelMeans& means = inputs_[layer];
    for (int64_t p = 0; p < input.pixels.count; ++p)
      means.add(input.data + input.pixels.out[p] * input.pitch, input.channels);
  }
  /// [1, 3, H, W]
  void add_image(const std::string& stem, const Tensor& image) {
    ChannelMeans& means = inputs_[stem];
    const int64_t plane = image.size() / 3;
    for (int64_t p = 0; p < plane; ++p) {
      const float pixel[] = {image.data[p], image.data[plane + p], image.data[2 * plane + p]};
      means.add(pixel, 3);
    }
  }
  const std::map<std::string, ChannelMeans>& inputs() const { return inputs_; }

  /// Maps that no run has computed a pixel of. From now on nothing but these counts.
  const std::set<std::string>& keep_to_missing() {
    only_missing_ = true;
    for (const auto& [name, histogram] : histograms_) {
      if (histogram.count() == 0) missing_.insert(name);
    }
    return missing_;
  }

  /// Share of each map's values that it clips.
  std::map<std::string, double> clipped(const std::map<std::string, MapQuantization>& maps) const {
    std::map<std::string, double> shares;
    for (const auto& [name, histogram] : histograms_)
      shares[name] = share_beyond_bytes(histogram, maps.at(name).scale);
    return shares;
  }

  std::map<std::string, MapQuantization> quantizations(QuantizationMethod method) const {
    std::map<std::string, MapQuantization> maps;
    for (const auto& [name, histogram] : histograms_) maps[name] = quantization(histogram, method);
    return maps;
  }

 private:
  static double largest(const Histogram& histogram, QuantizationMethod method) {
    if (method == QuantizationMethod::percentile) return histogram.percentile(kQuantizationPercentile);
    if (method == QuantizationMethod::mse) return histogram.least_error(kLargestByte);
    return histogram.largest();
  }

  static MapQuantization quantization(const Histogram& histogram, QuantizationMethod method) {
    double most = largest(histogram, method);
    if (most <= 0) most = histogram.largest();
    const auto scale = static_cast<float>(most / kLargestByte);
    if (!std::isnormal(scale)) return {.scale = kAnyScale};
    return {.scale = scale, .clipped = share_beyond_bytes(histogram, scale)};
  }

  /// Half a step above the largest byte still rounds to it.
  static double share_beyond_bytes(const Histogram& histogram, float scale) {
    return histogram.share_above((kLargestByte + 0.5) * double{scale});
  }

  QuantizedMaps maps_;
  std::map<std::string, std::string> map_of_;     ///< by layer
  std::map<std::string, std::string> reader_of_;  ///< of what a layer writes
  std::map<std::string, ChannelMeans> inputs_;    ///< by layer
  std::map<std::string, Histogram> histograms_;
  std::set<std::string> missing_;
  bool only_missing_ = false;
};

/// The network's input: all that preprocessing makes of pixels, and what was seen.
class InputRange {
 public:
  explicit InputRange(const Preprocessing& preprocessing) {
    for (size_t c = 0; c < preprocessing.mean.size(); ++c) {
      add((0 - preprocessing.mean[c]) / preprocessing.std[c]);
      add((1 - preprocessing.mean[c]) / preprocessing.std[c]);
    }
  }
  void add(float value) {
    low_ = std::min(low_, value);
    high_ = std::max(high_, value);
  }
  MapQuantization quantization() const {
    const float scale = (high_ - low_) / kLargestByte;
    return {.scale = scale, .zero = static_cast<int>(std::lround(-low_ / scale))};
  }

 private:
  float low_ = 0, high_ = 0;
};

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
        runner_(make_executable(model, Backend::cpu, options.session.isa)
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

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

/// A weight in steps of its scale.
float steps_of(float weight, float scale) {
  return std::clamp(std::nearbyint(weight / scale), -float{kLargestWeight}, float{kLargestWeight});
}

double rounding_error(std::span<const float> weights, float scale) {
  double sum = 0;
  for (const float weight : weights) {
    const double error = double{weight} - double{steps_of(weight, scale)} * double{scale};
    sum += error * error;
  }
  return sum;
}

/// The scale of one output channel; 0 without weights. Clipping a few weights can cost less than coarser
/// steps for all.
float channel_scale(std::span<const float> weights, QuantizationMethod method) {
  constexpr int kCandidates = 16;
  constexpr float kSmallest = 0.6f;
  const float whole = largest_magnitude(weights) / kLargestWeight;
  if (!std::isnormal(whole)) return 0;
  if (method == QuantizationMethod::minmax) return whole;
  float best = whole;
  double least = rounding_error(weights, whole);
  for (int i = 0; i < kCandidates; ++i) {
    const float scale = whole * (kSmallest + (1 - kSmallest) * static_cast<float>(i) / kCandidates);
    const double error = rounding_error(weights, scale);
    if (error >= least) continue;
    least = error;
    best = scale;
  }
  return best;
}

/// The scale of each output channel of a weight; 0 of one without weights.
std::vector<float> weight_scales(const Tensor& weight, QuantizationMethod method) {
  const int64_t channels = weight.shape[0], per_channel = weight.size() / channels;
  std::vector<float> scales;
  for (int64_t c = 0; c < channels; ++c)
    scales.push_back(channel_scale(std::span(weight.data).subspan(c * per_channel, per_channel), method));
  return scales;
}

/// Weights [out, in / groups, k, k] or [out, in], and what they are multiplied with on average.
struct LayerWeights {
  Tensor weight;
  std::vector<float> bias;
  std::vector<double> input_means;  ///< [in]
  int groups = 1;
};

/// Maps are not negative, so rounded weights shift sums: the bias takes back what they do on average.
QuantizedLayer quantize_layer(LayerWeights given, std::vector<float> scales) {
  const Tensor& weight = given.weight;
  QuantizedLayer layer{
      .weight = Array<int8_t>(weight.shape), .scale = std::move(scales), .bias = std::move(given.bias)};
  std::ranges::replace(layer.scale, 0.0f, kAnyScale);
  const int64_t channels = weight.shape[0], group_in = weight.shape[1],
                per_channel = weight.size() / channels;
  const int64_t taps = per_channel / group_in;
  for (int64_t o = 0; o < channels; ++o) {
    const int64_t first_input = o / (channels / given.groups) * group_in;
    double shift = 0;
    for (int64_t i = 0; i < per_channel; ++i) {
      const float value = weight.data[o * per_channel + i], steps = steps_of(value, layer.scale[o]);
      layer.weight.data[o * per_channel + i] = static_cast<int8_t>(steps);
      shift += (double{steps} * double{layer.scale[o]} - double{value}) *
               given.input_means[first_input + i / taps];
    }
    layer.bias[o] = static_cast<float>(double{layer.bias[o]} - shift);
  }
  return layer;
}

class LayerQuantizer {
 public:
  LayerQuantizer(const Model& model, const std::map<std::string, ChannelMeans>& inputs,
                 QuantizationMethod method, Quantization& quantization)
      : model_(model),
        inputs_(inputs),
        method_(method),
        quantization_(quantization),
        maps_(quantized_maps(model.spec)) {}

  void run() {
    const ModelSpec& spec = model_.spec;
    add(spec.stem);
    for (size_t b = 0; b < spec.blocks.size(); ++b) {
      const BlockSpec& block = spec.blocks[b];
      for (const ConvSpec& conv : block.convs) {
        if (!block.projection || &conv != &block.convs.back()) add(conv);
      }
      if (block.projection) add_summed(block, b);
    }
    if (!spec.has_head()) return;
    add(spec.head_name,
        {model_.weights.at(spec.head_name + ".weight"), model_.weights.at(spec.head_name + ".bias").data,
         input_means(spec.head_name, spec.features)});
  }

 private:
  std::vector<double> input_means(const std::string& layer, int64_t channels) const {
    const auto found = inputs_.find(layer);
    return found == inputs_.end() ? std::vector<double>(static_cast<size_t>(channels))
                                  : found->second.means(channels);
  }

  LayerWeights weights_of(const ConvSpec& conv) const {
    FoldedConv folded = fold(conv, model_.weights);
    return {std::move(folded.weight), std::move(folded.bias), input_means(conv.name, conv.in_channels),
            conv.groups};
  }

  void add(const std::string& name, LayerWeights weights) {
    std::vector<float> scales = weight_scales(weights.weight, method_);
    quantization_.layers[name] = quantize_layer(std::move(weights), std::move(scales));
  }
  void add(const ConvSpec& conv) { add(conv.name, weights_of(conv)); }

  /// The product of input scale and weight scale is that of the layer which needs the larger one.
  void add_summed(const BlockSpec& block, size_t index) {
    const ConvSpec& last = block.convs.back();
    LayerWeights projection = weights_of(*block.projection), conv = weights_of(last);
    std::vector<float> projection_scales = weight_scales(projection.weight, method_);
    std::vector<float> conv_scales = weight_scales(conv.weight, method_);
    const double x = quantization_.maps.at(maps_.residual[index]).scale;
    const std::string& last_input =
        maps_.excited[index].empty() ? maps_.inner[index].back() : maps_.excited[index];
    const double h = quantization_.maps.at(last_input).scale;
    for (size_t c = 0; c < conv_scales.size(); ++c) {
      double unit = std::max(x * projection_scales[c], h * conv_scales[c]);
      if (unit == 0) unit = kAnyScale;
      projection_scales[c] = static_cast<float>(unit / x);
      conv_scales[c] = static_cast<float>(unit / h);
    }
    quantization_.layers[block.projection->name] =
        quantize_layer(std::move(projection), std::move(projection_scales));
    quantization_.layers[last.name] = quantize_layer(std::move(conv), std::move(conv_scales));
  }

  const Model& model_;
  const std::map<std::string, ChannelMeans>& inputs_;
  QuantizationMethod method_;
  Quantization& quantization_;
  QuantizedMaps maps_;
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
  LayerQuantizer(model, calibration.statistics().inputs(), options.method, quantization).run();
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

}  // namespace lasnet
