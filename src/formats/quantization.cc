// Which layers and maps a quantization has, and the check of a given one.
#include "formats/quantization.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "base/fail.h"
#include "formats/printable.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

constexpr int kLargestByte = 255;
/// How far the scales of two layers that share a sum may differ: rounding to float32.
constexpr double kScaleTolerance = 1e-5;
/// Above any sum in units of its map, so that rounding stays inside int32.
constexpr double kLargestRounded = 1 << 30;

QuantizedLayerSpec layer_spec(const ConvSpec& conv, std::string input, std::string output) {
  return {conv.name,
          {conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel},
          std::move(input),
          std::move(output)};
}

template <typename Value>
void check_names(const std::map<std::string, Value>& given, const std::set<std::string>& wanted,
                 const char* what, const std::string& origin) {
  for (const std::string& name : wanted) {
    if (!given.contains(name)) fail("{}: quantization: the {} '{}' is missing", origin, what, name);
  }
  for (const auto& [name, value] : given) {
    if (!wanted.contains(name)) fail("{}: quantization: unexpected {} '{}'", origin, what, printable(name));
  }
}

void check_map(const std::string& name, const MapQuantization& map, const std::string& origin) {
  if (!(std::isfinite(map.scale) && map.scale > 0)) {
    fail("{}: quantization: the map '{}' has scale {:g}; expected a finite number above 0", origin, name,
         map.scale);
  }
  if (name == kQuantizedInput && !std::isfinite(1 / map.scale)) {
    fail("{}: quantization: the map '{}' has scale {:g}; expected one whose inverse is finite", origin, name,
         map.scale);
  }
  const int most = name == kQuantizedInput ? kLargestByte : 0;
  if (map.zero < 0 || map.zero > most) {
    fail("{}: quantization: the map '{}' has zero {}; expected 0{}", origin, name, map.zero,
         most > 0 ? " to 255" : "");
  }
  if (!(map.clipped >= 0 && map.clipped <= 1))
    fail("{}: quantization: the map '{}' clips {:g}; expected a share", origin, name, map.clipped);
}

void check_layer(const QuantizedLayerSpec& spec, const QuantizedLayer& layer, const std::string& origin) {
  const auto wrong = [&](const std::string& problem) {
    fail("{}: quantization: layer '{}': {}", origin, spec.name, problem);
  };
  if (layer.weight.shape != spec.shape || layer.weight.size() != element_count(spec.shape)) {
    wrong(
        fmt::format("weight of shape {}; expected {}", to_string(layer.weight.shape), to_string(spec.shape)));
  }
  const auto channels = static_cast<size_t>(spec.shape[0]);
  if (layer.scale.size() != channels || layer.bias.size() != channels) {
    wrong(fmt::format("{} scales and {} biases; expected {} of each", layer.scale.size(), layer.bias.size(),
                      channels));
  }
  if (std::ranges::find(layer.weight.data, std::numeric_limits<int8_t>::min()) != layer.weight.data.end())
    wrong("a weight is -128; expected -127 to 127");
  for (size_t c = 0; c < channels; ++c) {
    if (!(std::isfinite(layer.scale[c]) && layer.scale[c] > 0))
      wrong(fmt::format("channel {} has scale {:g}; expected a finite number above 0", c, layer.scale[c]));
    if (!std::isfinite(layer.bias[c]))
      wrong(fmt::format("channel {} has bias {}; expected a finite number", c, layer.bias[c]));
  }
}

/// The largest magnitude of each channel's sum of weights times bytes.
std::vector<int64_t> largest_sums(const QuantizedLayer& layer) {
  const int64_t channels = layer.weight.shape[0], per_channel = layer.weight.size() / channels;
  std::vector<int64_t> sums(static_cast<size_t>(channels));
  for (int64_t i = 0; i < layer.weight.size(); ++i)
    sums[i / per_channel] += kLargestByte * std::abs(int64_t{layer.weight.data[i]});
  return sums;
}

/// Sums fit int32, and what they stand for is not absurdly far beyond the map that they are rounded to.
void check_sums(const QuantizedLayerSpec& spec, const Quantization& quantization, std::vector<int64_t> sums,
                const std::string& origin) {
  const bool is_head = spec.output.empty();
  const QuantizedLayer& layer = quantization.layers.at(spec.name);
  const double in = quantization.maps.at(spec.input).scale;
  const double out = is_head ? 1 : quantization.maps.at(spec.output).scale;
  const double most = is_head ? std::numeric_limits<float>::max() : kLargestRounded;
  for (size_t c = 0; c < sums.size(); ++c) {
    if (!is_head && sums[c] > std::numeric_limits<int32_t>::max()) {
      fail("{}: quantization: layer '{}': the sum of channel {} can reach {}, beyond 32 bits; use fp32",
           origin, spec.name, c, sums[c]);
    }
    // A sum that is always 0 has a multiplier too.
    const auto sum = static_cast<double>(std::max<int64_t>(sums[c], 1));
    const double largest = (sum * in * layer.scale[c] + std::abs(layer.bias[c])) / out;
    if (!(largest < most)) {
      fail("{}: quantization: layer '{}': channel {} can reach {:g}{}; its scale or its bias is wrong",
           origin, spec.name, c, largest,
           is_head ? "" : fmt::format(" times the scale of the map '{}'", spec.output));
    }
  }
}

/// Squeeze-and-Excitation multiplies bytes by at most the ratio of the scales before and after it.
void check_excitation(const std::string& before, const std::string& after, const Quantization& quantization,
                      const std::string& origin) {
  const double ratio = double{quantization.maps.at(before).scale} / double{quantization.maps.at(after).scale};
  if (kLargestByte * ratio < kLargestRounded) return;
  fail("{}: quantization: the map '{}' has {:g} times the scale of '{}' behind it; one of them is wrong",
       origin, before, ratio, after);
}

/// A projection and the last convolution are summed before they are scaled.
void check_shared_sums(const BlockSpec& block, const QuantizedLayerSpec& projection,
                       const QuantizedLayerSpec& last, const Quantization& quantization,
                       const std::string& origin) {
  const QuantizedLayer &first = quantization.layers.at(projection.name),
                       &second = quantization.layers.at(last.name);
  const double x = quantization.maps.at(projection.input).scale, h = quantization.maps.at(last.input).scale;
  for (size_t c = 0; c < first.scale.size(); ++c) {
    const double a = x * first.scale[c], b = h * second.scale[c];
    if (std::abs(a - b) > kScaleTolerance * std::max(a, b)) {
      fail(
          "{}: quantization: {}: '{}' and '{}' are summed, but channel {} has units of {:g} and {:g}; "
          "expected "
          "equal ones",
          origin, block.name, projection.name, last.name, c, a, b);
    }
  }
}

/// A BatchNorm that changes nothing but the bias.
void add_plain_norm(const ConvSpec& conv, const std::vector<float>& bias, Weights& weights) {
  const Shape channels = {conv.out_channels};
  weights[conv.norm_name + ".weight"] = Tensor(channels, 1.0f);
  weights[conv.norm_name + ".running_mean"] = Tensor(channels, 0.0f);
  weights[conv.norm_name + ".running_var"] = Tensor(channels, 1.0f);
  Tensor& shift = weights[conv.norm_name + ".bias"] = Tensor(channels);
  shift.data = bias;
}

Tensor dequantized(const QuantizedLayer& layer) {
  Tensor weight(layer.weight.shape);
  const int64_t per_channel = weight.size() / weight.shape[0];
  for (int64_t i = 0; i < weight.size(); ++i)
    weight.data[i] = static_cast<float>(layer.weight.data[i]) * layer.scale[i / per_channel];
  return weight;
}

std::vector<const ConvSpec*> convolutions(const ModelSpec& spec) {
  std::vector<const ConvSpec*> convs = {&spec.stem};
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) convs.push_back(&conv);
    if (block.projection) convs.push_back(&*block.projection);
  }
  return convs;
}

}  // namespace

QuantizedMaps quantized_maps(const ModelSpec& spec) {
  QuantizedMaps maps{.residual = {spec.stem.name}, .inner = {}, .excited = {}};
  for (const BlockSpec& block : spec.blocks) {
    std::vector<std::string> inner;
    for (size_t i = 0; i + 1 < block.convs.size(); ++i) inner.push_back(block.convs[i].name);
    maps.inner.push_back(std::move(inner));
    maps.excited.push_back(block.squeeze_excite ? block.squeeze_excite->name : "");
    maps.residual.push_back(block.projection ? block.name : maps.residual.back());
  }
  return maps;
}

std::vector<QuantizedLayerSpec> quantized_layer_specs(const ModelSpec& spec) {
  const QuantizedMaps maps = quantized_maps(spec);
  std::vector<QuantizedLayerSpec> layers = {layer_spec(spec.stem, kQuantizedInput, maps.residual.front())};
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    std::string input = maps.residual[b];
    for (size_t i = 0; i < block.convs.size(); ++i) {
      const bool last = i + 1 == block.convs.size();
      std::string output = last ? maps.residual[b + 1] : maps.inner[b][i];
      layers.push_back(layer_spec(block.convs[i], input, output));
      input = std::move(output);
      if (i == 1 && block.squeeze_excite) input = maps.excited[b];
    }
    if (block.projection)
      layers.push_back(layer_spec(*block.projection, maps.residual[b], maps.residual[b + 1]));
  }
  if (spec.has_head())
    layers.push_back({spec.head_name, {spec.arch.classes, spec.features}, maps.residual.back(), ""});
  return layers;
}

void check_quantization(const ModelSpec& spec, const Quantization& quantization, const std::string& origin) {
  const std::vector<QuantizedLayerSpec> layers = quantized_layer_specs(spec);
  std::set<std::string> names, maps = {kQuantizedInput};
  for (const QuantizedLayerSpec& layer : layers) {
    names.insert(layer.name);
    maps.insert(layer.input);
    if (!layer.output.empty()) maps.insert(layer.output);
  }
  check_names(quantization.layers, names, "layer", origin);
  check_names(quantization.maps, maps, "map", origin);
  for (const auto& [name, map] : quantization.maps) check_map(name, map, origin);
  std::map<std::string, const QuantizedLayerSpec*> by_name;
  for (const QuantizedLayerSpec& layer : layers) {
    check_layer(layer, quantization.layers.at(layer.name), origin);
    by_name[layer.name] = &layer;
  }
  for (const QuantizedLayerSpec& layer : layers)
    check_sums(layer, quantization, largest_sums(quantization.layers.at(layer.name)), origin);
  const QuantizedMaps written = quantized_maps(spec);
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    if (block.squeeze_excite)
      check_excitation(written.inner[b].back(), written.excited[b], quantization, origin);
    if (!block.projection) continue;
    const QuantizedLayerSpec &projection = *by_name.at(block.projection->name),
                             &last = *by_name.at(block.convs.back().name);
    check_shared_sums(block, projection, last, quantization, origin);
    std::vector<int64_t> sums = largest_sums(quantization.layers.at(projection.name));
    std::ranges::transform(sums, largest_sums(quantization.layers.at(last.name)), sums.begin(),
                           std::plus<>());
    check_sums(projection, quantization, std::move(sums), origin);
  }
}

Weights dequantized_weights(const ModelSpec& spec, const Quantization& quantization, const Weights& others) {
  Weights weights;
  for (const ConvSpec* conv : convolutions(spec)) {
    const QuantizedLayer& layer = quantization.layers.at(conv->name);
    weights[conv->name + ".weight"] = dequantized(layer);
    add_plain_norm(*conv, layer.bias, weights);
  }
  if (spec.has_head()) {
    const QuantizedLayer& head = quantization.layers.at(spec.head_name);
    weights[spec.head_name + ".weight"] = dequantized(head);
    Tensor& bias = weights[spec.head_name + ".bias"] = Tensor({spec.arch.classes});
    bias.data = head.bias;
  }
  for (const TensorSpec& tensor : required_tensors(spec)) {
    if (!weights.contains(tensor.name)) weights[tensor.name] = others.at(tensor.name);
  }
  return weights;
}

}  // namespace lasnet
