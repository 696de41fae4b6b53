#include "quantize/layers.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "engine/fold.h"

namespace lasnet {
namespace {

constexpr int kLargestWeight = 127;

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

void quantize_layers(const Model& model, const std::map<std::string, ChannelMeans>& inputs,
                     QuantizationMethod method, Quantization& quantization) {
  LayerQuantizer(model, inputs, method, quantization).run();
}

}  // namespace lasnet
