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
  std::string warning;   ///< which of several state dicts was read, or empty
};

/// Random weights of the seed if `init` is empty. Otherwise the weights of the file `init`, without its
/// maskers. The file is a lasnet model, static or dynamic, or has plain torchvision names. The head is fresh
/// when the file's classes are others than `classes`. `state_dict` as of load_model. Throws Error if the
/// file is malformed or does not fit the static `spec`.
StartingPoint starting_point(const ModelSpec& spec, const std::vector<std::string>& classes,
                             const std::string& init, const std::string& state_dict, uint64_t seed);

/// Maskers that the file `init` was trained with.
struct StoredMaskers {
  Weights weights;               ///< of all dynamic blocks of the network, or empty
  std::vector<int> granularity;  ///< that they were trained for; empty if the file does not say
};

/// None if `init` is empty, or has none, or those that conversion made: all weights 0. Throws Error if some
/// do not fit the dynamic `spec`.
StoredMaskers stored_maskers(const ModelSpec& spec, const std::string& init, const std::string& state_dict);

}  // namespace lasnet
