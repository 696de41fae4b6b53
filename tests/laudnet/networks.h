// The networks and inputs of the LAUDNet fixtures: the same for the program that dumps them and the test.
#pragma once

#include "support/random_model.h"

namespace lasnet::test {

struct LaudnetCase {
  const char* name;  ///< of files
  const char* architecture;
  const char* granularity;
};

/// LAUDNet has the mode layer for ResNets alone.
inline constexpr LaudnetCase kLaudnetCases[] = {{"resnet50_spatial", "resnet50", "4-4-2-1"},
                                                {"resnet50_layer", "resnet50", "layer"},
                                                {"resnet50_both", "resnet50", "8-4-layer-layer"},
                                                {"regnet_y_400mf_spatial", "regnet_y_400mf", "4-4-2-1"}};
/// Every S divides its maps: only then LAUDNet's patches are those of this library.
inline constexpr MapSize kLaudnetSize{96, 96};
inline constexpr int64_t kLaudnetImages = 3;

inline Model laudnet_model(const LaudnetCase& c) {
  ArchConfig arch;
  arch.name = c.architecture;
  arch.classes = 10;
  arch.granularity = parse_granularity(c.granularity);
  arch.se_pool = SePool::dense;  // as its authors train
  return random_model(arch, 51);
}

/// Replaces the maskers' biases by the fixture's [blocks, 2].
inline void set_biases(Model& model, const Tensor& biases) {
  for (size_t b = 0; b < model.spec.blocks.size(); ++b) {
    model.weights.at(model.spec.blocks[b].masker_name() + ".bias").data = {biases.data[2 * b],
                                                                           biases.data[2 * b + 1]};
  }
}

inline Tensor laudnet_input() { return random_input(kLaudnetImages, kLaudnetSize, 52); }

/// The weights as a checkpoint of LAUDNet names them.
inline Weights laudnet_weights(const Model& model) {
  Weights renamed;
  for (const auto& [ours, tensor] : model.weights) {
    std::string theirs = ours;
    const std::string masker = ".masker.conv2.";
    if (const size_t at = ours.find(masker); at != std::string::npos) {
      const bool regnet = ours.starts_with("trunk_output.");
      theirs.replace(at, masker.size(), regnet ? ".f.masker_spatial.conv." : ".masker_spatial.conv.");
    }
    renamed[theirs] = tensor;
  }
  return renamed;
}

}  // namespace lasnet::test
