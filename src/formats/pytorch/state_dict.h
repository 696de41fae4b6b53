// Where the weights are in what a checkpoint holds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/pytorch/pickle_value.h"
#include "lasnet/error.h"

namespace lasnet {

/// A checkpoint has several state dicts and nothing says which is meant.
class SeveralStateDicts : public Error {
 public:
  using Error::Error;
};

struct StateDict {
  std::string keys;                 ///< the way to it, "ema.module"; empty: the root
  std::vector<std::string> others;  ///< the ways to others
  std::map<std::string, TensorRef> tensors;
};

/// The state dict with these keys, places in a list or tuple included. Where `keys` are empty: the root, or
/// what it holds under `state_dict`, `model_state_dict` or `model`; else the only dict of weights. Throws
/// Error naming `origin` and what the checkpoint holds instead; SeveralStateDicts where several could be
/// meant.
StateDict find_state_dict(const PickleData& data, const std::string& origin, const std::string& keys = "");

/// "x.pth: the weights are those of 'model'; there are others: 'model_ema'"; empty if there are none.
std::string describe_choice(const std::string& path, const std::string& keys,
                            const std::vector<std::string>& others);

}  // namespace lasnet
