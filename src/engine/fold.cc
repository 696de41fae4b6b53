#include "engine/fold.h"

#include <cmath>

#include "base/fail.h"

namespace lasnet {

FoldedConv fold(const ConvSpec& conv, const Weights& weights) {
  auto norm = [&](const char* part) -> const Tensor& { return weights.at(conv.norm_name + "." + part); };
  FoldedConv folded{weights.at(conv.name + ".weight"), std::vector<float>(conv.out_channels)};
  int64_t per_channel = folded.weight.size() / conv.out_channels;
  for (int o = 0; o < conv.out_channels; ++o) {
    double scale = norm("weight").data[o] / std::sqrt(norm("running_var").data[o] + kBatchNormEpsilon);
    if (!std::isfinite(scale)) {
      fail("{}: channel {} has running_var {}; expected a variance, >= 0", conv.norm_name, o,
           norm("running_var").data[o]);
    }
    folded.bias[o] = static_cast<float>(norm("bias").data[o] - norm("running_mean").data[o] * scale);
    for (int64_t i = 0; i < per_channel; ++i) {
      float& value = folded.weight.data[o * per_channel + i];
      value = static_cast<float>(value * scale);
    }
  }
  return folded;
}

FoldedMasker fold_masker(const BlockSpec& block, const Weights& weights) {
  const Tensor& weight = weights.at(block.masker_name() + ".weight");
  const Tensor& bias = weights.at(block.masker_name() + ".bias");
  FoldedMasker folded;
  for (int c = 0; c < block.in_channels; ++c) {
    folded.weight.push_back(weight.data[c] - weight.data[block.in_channels + c]);
  }
  folded.bias = bias.data[0] - bias.data[1];
  return folded;
}

}  // namespace lasnet
