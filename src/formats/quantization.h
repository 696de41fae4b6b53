// The int8 tensors of a model file. A layer `x` has `x.weight` (I8), `x.weight_scale` and `x.bias` (F32).
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "formats/weight_file.h"
#include "lasnet/model.h"

namespace lasnet {

/// A quantized layer of a network, and the maps that it reads and writes.
struct QuantizedLayerSpec {
  std::string name;
  Shape shape;                ///< of the weight
  std::string input, output;  ///< maps; the classifier writes none
};
std::vector<QuantizedLayerSpec> quantized_layer_specs(const ModelSpec& spec);

/// Fills the layers of a quantization whose maps are known. Throws Error on tensors that are missing, of
/// another type or shape, or unexpected, before any value is read. `given` are tensors that the file need not
/// have. Returns the network's weights: dequantized, and the file's maskers.
Weights read_quantized(WeightFile& file, const ModelSpec& spec, Weights given, Quantization& quantization);

/// The tensors of a model with a quantization as a file has them.
Safetensors quantized_content(const Model& model);

}  // namespace lasnet
