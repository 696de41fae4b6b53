// Where the weights are in what a checkpoint holds.
#pragma once

#include <map>
#include <string>

#include "model/pickle_value.h"

namespace lasnet {

/// The tensors of the state dict by name, without the prefixes `module.` and `_orig_mod.`: of `data`'s root,
/// or of the dict that it holds under `state_dict`, `model_state_dict` or `model`. Points into `data`. Throws
/// Error naming `origin` and what the checkpoint holds instead, or a name that occurs twice.
std::map<std::string, const TensorRef*> find_state_dict(const PickleData& data, const std::string& origin);

}  // namespace lasnet
