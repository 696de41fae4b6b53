// Where a run starts: given weights or random ones, and whether the static network still has to be trained.
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

struct StartingPoint {
  Weights weights;
  bool trained = false;  ///< of a network for these classes: no static pre-training is needed
  std::string note;      ///< what the user should know, or empty
};

/// Random weights of the seed if `init` is empty. Otherwise those of the .safetensors file `init` (a lasnet
/// model, static or dynamic, or plain torchvision names), with a fresh head when its classes are others than
/// `classes`. Throws Error if the file is malformed or does not fit the static `spec`.
StartingPoint starting_point(const ModelSpec& spec, const std::vector<std::string>& classes,
                             const std::string& init, uint64_t seed);

}  // namespace lasnet
