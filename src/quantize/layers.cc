#include "quantize/layers.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "engine/fold.h"
#include "engine/int8_network.h"

namespace lasnet {
namespace {

constexpr int kLargestWeight = 127;

/// Of one sign: makes their sum one that kernels can multiply.
void shrink_pair(float& a, float& b) {
  const float excess = std::abs(a + b) - kMaxPairOfWeights;
  if (excess <= 0) return;
  const float sign = a > 0 ? 1.0f : -1.0f, half = std::floor(excess / 2);
  a -= sign * half;
  b -= sign * (excess - half);
}

/// The weights of one output channel, [inputs][taps].
struct ChannelWeights {
  std::span<const float> values;
  int64_t taps = 1;
  int64_t first_pair = 0;  ///< input at which pairs of inputs begin: 0 or 1

  /// Calls visit(index of a weight, index of the weight that is multiplied with it).
  template <typename Visit>
  void for_each_pair(const Visit& visit) const {
    const auto size = static_cast<int64_t>(values.size());
    for (int64_t begin = first_pair * taps; begin + 2 * taps <= size; begin += 2 * taps) {
      for (int64_t i = begin; i < begin + taps; ++i) visit(i, i + taps);
    }
  }

  /// In steps of `scale`, in the memory of `steps`.
  void round(float scale, std::vector<float>& steps) const {
    steps.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i)
      steps[i] = std::clamp(std::nearbyint(values[i] / scale), -float{kLargestWeight}, float{kLargestWeight});
    for_each_pair([&](int64_t i, int64_t j) { shrink_pair(steps[i], steps[j]); });
  }

  double rounding_error(float scale, std::vector<float>& steps) const {
    round(scale, steps);
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = double{values[i]} - double{steps[i]} * double{scale};
      sum += error * error;
    }
    return sum;
  }

  /// At which no weight is clipped.
  float whole_scale() const {
    float largest = 0, largest_pair = 0;
    for (const float value : values) largest = std::max(largest, std::abs(value));
    for_each_pair([&](int64_t i, int64_t j) {
      largest_pair = std::max(largest_pair, std::abs(values[i] + values[j]));
    });
    return std::max(largest / kLargestWeight, largest_pair / (kMaxPairOfWeights - 1));
  }
};

ChannelWeights channel_of(const Tensor& weight, int groups, int64_t channel) {
  const int64_t channels = weight.shape[0], inputs = weight.shape[1], size = weight.size() / channels;
  return {.values = std::span(weight.data).subspan(channel * size, size),
          .taps = size / inputs,
          .first_pair = channel / (channels / groups) * inputs % 2};
}

/// The scale of one output channel; 0 without weights. Clipping a few weights can cost less than coarser
/// steps for all.
float channel_scale(const ChannelWeights& weights, QuantizationMethod method, std::vector<float>& steps) {
  constexpr int kCandidates = 20;
  constexpr float kSmallest = 0.5f;
  const float whole = weights.whole_scale();
  if (!std::isnormal(whole)) return 0;
  if (method == QuantizationMethod::minmax) return whole;
  float best = whole;
  double least = weights.rounding_error(whole, steps);
  for (int i = 0; i < kCandidates; ++i) {
    const float scale = whole * (kSmallest + (1 - kSmallest) * static_cast<float>(i) / kCandidates);
    const double error = weights.rounding_error(scale, steps);
    if (error >= least) continue;
    least = error;
    best = scale;
  }
  return best;
}

/// The scale of each output channel of a weight; 0 of one without weights.
std::vector<float> weight_scales(const Tensor& weight, int groups, QuantizationMethod method) {
  std::vector<float> scales, steps;
  for (int64_t c = 0; c < weight.shape[0]; ++c)
    scales.push_back(channel_scale(channel_of(weight, groups, c), method, steps));
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
  std::vector<float> steps;
  for (int64_t o = 0; o < channels; ++o) {
    const ChannelWeights weights = channel_of(weight, given.groups, o);
    const int64_t first_input = o / (channels / given.groups) * group_in;
    weights.round(layer.scale[o], steps);
    double shift = 0;
    for (int64_t i = 0; i < per_channel; ++i) {
      layer.weight.data[o * per_channel + i] = static_cast<int8_t>(steps[i]);
      shift += (double{steps[i]} * double{layer.scale[o]} - double{weights.values[i]}) *
               given.input_means[first_input + i / weights.taps];
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
    std::vector<float> scales = weight_scales(weights.weight, weights.groups, method_);
    quantization_.layers[name] = quantize_layer(std::move(weights), std::move(scales));
  }
  void add(const ConvSpec& conv) { add(conv.name, weights_of(conv)); }

  /// The product of input scale and weight scale is that of the layer which needs the larger one.
  void add_summed(const BlockSpec& block, size_t index) {
    const ConvSpec& last = block.convs.back();
    LayerWeights projection = weights_of(*block.projection), conv = weights_of(last);
    std::vector<float> projection_scales = weight_scales(projection.weight, projection.groups, method_);
    std::vector<float> conv_scales = weight_scales(conv.weight, conv.groups, method_);
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

void quantize_layers(const Model& model, const std::map<std::string, ChannelMeans>& inputs,
                     QuantizationMethod method, Quantization& quantization) {
  LayerQuantizer(model, inputs, method, quantization).run();
}

}  // namespace lasnet
