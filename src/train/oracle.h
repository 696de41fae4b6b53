// The masked dense network by libtorch: the oracle outside of the engine. No libtorch type appears here.
#pragma once

#include <string>
#include <vector>

#include "lasnet/engine.h"

namespace lasnet {

struct OracleOptions {
  bool dense = false;                    ///< the static network
  const MaskSet* force_masks = nullptr;  ///< uint8 [N, H', W'] by block name; replaces the maskers' decisions
  int threads = 1;
};

struct OracleBlock {
  std::string name;
  ByteTensor mask;          ///< M [N, H', W']
  Tensor logit_difference;  ///< logit0 - logit1 [N, rows, cols]
};

struct OracleResult {
  Tensor logits;                    ///< [N, classes]
  std::vector<OracleBlock> blocks;  ///< of the dynamic blocks in network order; empty if `dense`
  std::vector<double> macs_ratios;  ///< of each image: MACs over the static network's
};

/// Every pixel is computed in float32 with BatchNorm on running statistics, the body of each block is
/// multiplied by its mask. It is the very graph that training differentiates. input: float32 [N, 3, H, W],
/// preprocessed. Throws Error on a wrong shape or on forced masks that name unknown blocks or have the wrong
/// shape.
OracleResult masked_dense_forward(const Model& model, const Tensor& input, const OracleOptions& options = {});

}  // namespace lasnet
