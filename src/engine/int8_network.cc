#include "engine/int8_network.h"

#include "base/fail.h"
#include "engine/fold.h"
#include "lasnet/mask.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

/// [out, in, 1, 1] as [in, out].
Tensor transposed(const Tensor& weight) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  Tensor made({in, out});
  for (int64_t i = 0; i < weight.size(); ++i) made.data[i % in * out + i / in] = weight.data[i];
  return made;
}

class NetworkBuilder {
 public:
  explicit NetworkBuilder(const Model& model)
      : model_(model), quantization_(*model.quantization), maps_(quantized_maps(model.spec)) {}

  Int8Network build() const {
    const ModelSpec& spec = model_.spec;
    const MapQuantization& input = quantization_.maps.at(kQuantizedInput);
    Int8Network network{.input_inverse_scale = 1 / input.scale,
                        .input_zero = static_cast<float>(input.zero),
                        .stem = layer(spec.stem, kQuantizedInput, maps_.residual.front()),
                        .blocks = {},
                        .head = std::nullopt,
                        .map_scales = {}};
    for (size_t b = 0; b < spec.blocks.size(); ++b) network.blocks.push_back(block(b));
    for (const std::string& name : maps_.residual) network.map_scales.push_back(scale(name));
    if (spec.has_head()) network.head = head();
    return network;
  }

 private:
  float scale(const std::string& map) const { return quantization_.maps.at(map).scale; }

  Int8Layer layer(const ConvSpec& conv, const std::string& in, const std::string& out) const {
    const QuantizedLayer& given = quantization_.layers.at(conv.name);
    const int64_t per_channel = given.weight.size() / conv.out_channels;
    const double zero = quantization_.maps.at(in).zero;
    Int8Layer made{conv, given.weight, {}, {}};
    for (int c = 0; c < conv.out_channels; ++c) {
      int64_t weights = 0;
      for (int64_t i = 0; i < per_channel; ++i) weights += given.weight.data[c * per_channel + i];
      const float multiplier =
          static_cast<float>(double{scale(in)} * double{given.scale[c]} / double{scale(out)});
      made.multiplier.push_back(multiplier);
      // The sum of w * (byte - zero) is the sum of w * byte and a constant.
      made.bias.push_back(static_cast<float>(double{given.bias[c]} / double{scale(out)} -
                                             double{multiplier} * zero * static_cast<double>(weights)));
    }
    return made;
  }

  Int8Block block(size_t index) const {
    const BlockSpec& spec = model_.spec.blocks[index];
    const std::string &x = maps_.residual[index], &y = maps_.residual[index + 1];
    Int8Block made;
    std::string in = x;
    for (size_t i = 0; i < spec.convs.size(); ++i) {
      const std::string& out = i + 1 == spec.convs.size() ? y : maps_.inner[index][i];
      made.convs.push_back(layer(spec.convs[i], in, out));
      in = out;
      if (i == 1 && spec.squeeze_excite) {
        made.squeeze_excite = squeeze_excite(*spec.squeeze_excite, scale(in));
        in = maps_.excited[index];
      }
    }
    if (spec.projection) {
      made.projection = layer(*spec.projection, x, y);
      made.convs.back().multiplier = made.projection->multiplier;
    }
    if (spec.is_dynamic()) made.masker = masker(spec, scale(x));
    return made;
  }

  Int8SqueezeExcite squeeze_excite(const SqueezeExciteSpec& spec, float input_scale) const {
    const auto tensor = [&](const char* name) { return model_.weights.at(spec.name + name); };
    return {.fc1_weight = transposed(tensor(".fc1.weight")),
            .fc2_weight = transposed(tensor(".fc2.weight")),
            .fc1_bias = tensor(".fc1.bias"),
            .fc2_bias = tensor(".fc2.bias"),
            .pool = spec.pool,
            .input_scale = input_scale,
            .rescale = input_scale / scale(spec.name)};
  }

  Int8Masker masker(const BlockSpec& block, float scale) const {
    const FoldedMasker folded = fold_masker(block, model_.weights);
    float largest = 0;
    for (const float weight : folded.weight) largest = std::max(largest, std::abs(weight));
    int exponent = 0;
    std::frexp(largest, &exponent);
    const int shift = kMaskerBits - exponent;
    Int8Masker made{.weight = {}, .scale = std::ldexp(double{scale}, -shift), .bias = double{folded.bias}};
    for (const float weight : folded.weight)
      made.weight.push_back(static_cast<int32_t>(std::lrint(std::ldexp(double{weight}, shift))));
    return made;
  }

  Int8Layer head() const {
    const ModelSpec& spec = model_.spec;
    const QuantizedLayer& given = quantization_.layers.at(spec.head_name);
    Int8Layer made{{.name = spec.head_name,
                    .norm_name = "",
                    .in_channels = spec.features,
                    .out_channels = spec.arch.classes},
                   given.weight,
                   {},
                   given.bias};
    made.weight.shape = {spec.arch.classes, spec.features, 1, 1};
    for (const float weight_scale : given.scale) {
      made.multiplier.push_back(static_cast<float>(
          double{scale(maps_.residual.back())} * double{weight_scale} / static_cast<double>(kHeadFraction)));
    }
    return made;
  }

  const Model& model_;
  const Quantization& quantization_;
  QuantizedMaps maps_;
};

}  // namespace

namespace {

/// y: x times weight [in, out], plus bias. The outputs' sums are independent of each other.
void linear(const Tensor& weight, const Tensor& bias, const std::vector<float>& x, std::vector<float>& y) {
  y = bias.data;
  const float* row = weight.data.data();
  for (size_t c = 0; c < x.size(); ++c, row += y.size()) {
    for (size_t o = 0; o < y.size(); ++o) y[o] += row[o] * x[c];
  }
}

void check_summed(const std::string& layer, const char* what, int64_t pixels) {
  if (pixels <= kMaxSummedPixels) return;
  fail("{}: {} {} pixels; int8 sums at most {}: use smaller patches or images, or fp32", layer, what, pixels,
       kMaxSummedPixels);
}

}  // namespace

void Int8SqueezeExcite::excite(ExcitationVectors& vectors) const {
  linear(fc1_weight, fc1_bias, vectors.mean, vectors.squeezed);
  for (float& value : vectors.squeezed) value = std::max(value, 0.0f);
  linear(fc2_weight, fc2_bias, vectors.squeezed, vectors.factors);
  for (float& value : vectors.factors)
    value = static_cast<float>(double{rescale} / (1 + std::exp(-static_cast<double>(value))));
}

void check_summed_pixels(const ModelSpec& spec, const NetworkGeometry& geometry) {
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockSpec& block = spec.blocks[i];
    const BlockGeometry& maps = geometry.blocks[i];
    if (block.is_dynamic())
      check_summed(block.name, "a patch averages",
                   patch_window(maps.grid, 0, 0, block.stride, maps.input).pixels());
    if (block.squeeze_excite)
      check_summed(block.name, "Squeeze-and-Excitation averages", maps.output.pixels());
  }
  if (spec.has_head())
    check_summed(spec.head_name, "the classifier reads the average of",
                 geometry.blocks.back().output.pixels());
}

Int8Network make_int8_network(const Model& model) {
  check_quantization(model.spec, *model.quantization, "model");
  return NetworkBuilder(model).build();
}

}  // namespace lasnet
