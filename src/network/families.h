// Families of architectures: what make_spec expands. Each gives the blocks without granularity.
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

inline constexpr int kStages = 4;
inline constexpr int kChannelMultiple = 8;

/// channels * width rounded to a multiple of `multiple`, at least one.
int scaled_channels(int channels, double width, int multiple = kChannelMultiple);

/// ResNet, ResNeXt and Wide ResNet (torchvision's v1.5: a stage's stride sits on the 3x3).
std::vector<std::string> resnet_names();
void build_resnet(const ArchConfig& arch, ModelSpec& spec);

/// RegNetY: grouped 3x3 and Squeeze-and-Excitation.
std::vector<std::string> regnet_names();
void build_regnet(const ArchConfig& arch, ModelSpec& spec);

}  // namespace lasnet
