// The static networks and inputs of the torchvision fixtures: the same for the program that dumps them and
// the test.
#pragma once

#include "support/random_model.h"

namespace lasnet::test {

inline constexpr const char* kTorchvisionNetworks[] = {"resnet18",       "resnet34",        "resnet50",
                                                       "resnet101",      "resnext50_32x4d", "wide_resnet50_2",
                                                       "regnet_y_400mf", "regnet_y_800mf",  "regnet_y_1_6gf"};
/// One with dilated stages, torchvision's replace_stride_with_dilation=[False, True, True].
inline constexpr const char* kDilatedNetwork = "resnet50_dilated";
inline constexpr MapSize kTorchvisionSizes[] = {{224, 224}, {97, 131}};

/// Which values of a map are in the fixtures: every so many.
inline constexpr int64_t kKeptMapValues = 997;

/// With maskers if `granularity` says so; all other weights are the same.
inline Model torchvision_model(const std::string& name, const std::vector<int>& granularity = {}) {
  ArchConfig arch;
  const bool dilated = name == kDilatedNetwork;
  arch.name = dilated ? "resnet50" : name;
  arch.dilated_stages = dilated ? 2 : 0;
  arch.classes = 50;
  arch.granularity = granularity;
  return random_model(arch, 41);
}

inline Tensor torchvision_input(MapSize size) { return random_input(2, size, 42); }

/// E.g. "resnet18_97x131".
inline std::string torchvision_case(const std::string& name, MapSize size) {
  return name + "_" + std::to_string(size.height) + "x" + std::to_string(size.width);
}

}  // namespace lasnet::test
