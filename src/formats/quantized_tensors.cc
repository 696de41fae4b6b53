#include <algorithm>
#include <functional>
#include <set>

#include "base/fail.h"
#include "formats/printable.h"
#include "formats/quantization.h"
#include "lasnet/quantize.h"

namespace lasnet {
namespace {

constexpr const char* kWeight = ".weight";
constexpr const char* kScale = ".weight_scale";
constexpr const char* kBias = ".bias";
constexpr const char* kInt8 = "I8";

/// Tensors that are not quantized.
std::vector<TensorSpec> plain_tensors(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors;
  for (const BlockSpec& block : spec.blocks) {
    for (TensorSpec& tensor : required_tensors(block)) {
      const bool of_excitation =
          block.squeeze_excite && tensor.name.starts_with(block.squeeze_excite->name + ".");
      if (of_excitation || tensor.name.starts_with(block.masker_name() + "."))
        tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

class Reader {
 public:
  Reader(WeightFile& file, const ModelSpec& spec) : file_(file), spec_(spec) {}

  void check_names(const Weights& given) const {
    std::set<std::string> known;
    for (const QuantizedLayerSpec& layer : quantized_layer_specs(spec_)) {
      const Shape channels = {layer.shape.front()};
      check(known, layer.name + kWeight, layer.shape, true);
      check(known, layer.name + kScale, channels, false);
      check(known, layer.name + kBias, channels, false);
    }
    for (const TensorSpec& tensor : plain_tensors(spec_)) {
      if (!given.contains(tensor.name)) check(known, tensor.name, tensor.shape, false);
    }
    for (const auto& [name, tensor] : file_.tensors()) {
      if (known.contains(name) || given.contains(name) || is_masker_of_static_block(name)) continue;
      fail("{}: unexpected tensor '{}' {} in a quantized model", file_.origin(), printable(name),
           to_string(tensor.shape));
    }
  }

  std::map<std::string, QuantizedLayer> layers() const {
    std::map<std::string, QuantizedLayer> layers;
    for (const QuantizedLayerSpec& layer : quantized_layer_specs(spec_)) {
      layers[layer.name] = {.weight = file_.read_int8(layer.name + kWeight),
                            .scale = file_.read(layer.name + kScale).data,
                            .bias = file_.read(layer.name + kBias).data};
    }
    return layers;
  }

  Weights plain(Weights given) const {
    for (const TensorSpec& tensor : plain_tensors(spec_)) {
      if (!given.contains(tensor.name)) given[tensor.name] = file_.read(tensor.name);
    }
    return given;
  }

 private:
  void check(std::set<std::string>& known, const std::string& name, const Shape& shape, bool int8) const {
    known.insert(name);
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end())
      fail("{}: the tensor '{}' {} of a quantized model is missing", file_.origin(), name, to_string(shape));
    const StoredTensor& stored = found->second;
    const bool right_type = int8 ? stored.dtype == kInt8 : stored.is_float;
    if (right_type && stored.shape == shape) return;
    fail("{}: tensor '{}' is {} {}; expected {} {}", file_.origin(), name, printable(stored.dtype),
         to_string(stored.shape), int8 ? kInt8 : "F32", to_string(shape));
  }

  bool is_masker_of_static_block(const std::string& name) const {
    return std::ranges::any_of(spec_.blocks, [&](const BlockSpec& block) {
      return !block.is_dynamic() && name.starts_with(block.masker_name() + ".");
    });
  }

  WeightFile& file_;
  const ModelSpec& spec_;
};

Tensor vector_tensor(const std::vector<float>& values) {
  Tensor tensor({static_cast<int64_t>(values.size())});
  tensor.data = values;
  return tensor;
}

}  // namespace

Weights read_quantized(WeightFile& file, const ModelSpec& spec, Weights given, Quantization& quantization) {
  const Reader reader(file, spec);
  reader.check_names(given);
  quantization.layers = reader.layers();
  check_quantization(spec, quantization, file.origin());
  Weights weights = dequantized_weights(spec, quantization, reader.plain(std::move(given)));
  check_weights(spec, weights, file.origin());
  return weights;
}

Safetensors quantized_content(const Model& model) {
  Safetensors content;
  for (const auto& [name, layer] : model.quantization->layers) {
    content.int8_tensors[name + kWeight] = layer.weight;
    content.tensors[name + kScale] = vector_tensor(layer.scale);
    content.tensors[name + kBias] = vector_tensor(layer.bias);
  }
  for (const TensorSpec& tensor : plain_tensors(model.spec))
    content.tensors[tensor.name] = model.weights.at(tensor.name);
  return content;
}

}  // namespace lasnet
