// int8 weights of a network's layers, once the scales of its maps are known.
#pragma once

#include <map>
#include <string>

#include "lasnet/quantize.h"
#include "quantize/statistics.h"

namespace lasnet {

/// Fills quantization.layers. `inputs` are the means of what layers read.
void quantize_layers(const Model& model, const std::map<std::string, ChannelMeans>& inputs,
                     QuantizationMethod method, Quantization& quantization);

}  // namespace lasnet
