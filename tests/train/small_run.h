// A training run that takes seconds.
#pragma once

#include "synthetic_folder.h"
#include "train/train.h"

namespace lasnet::test {

/// A ResNet-18 of an eighth of the width, at 32 px on the folder's images, one epoch of the static network
/// first.
inline TrainConfig small_run(const SyntheticFolder& folder) {
  TrainConfig config;
  config.data = folder.path();
  config.arch = {
      .name = "resnet18", .width = 0.125, .classes = 0, .stem = StemKind::small, .granularity = {4, 4, 2, 1}};
  config.size = 32;
  config.batch = 8;
  config.pretrain_epochs = 1;
  config.epochs = 1;
  config.pretrain_lr = 1.0;
  config.threads = 1;
  config.output = folder.path("out");
  return config;
}

}  // namespace lasnet::test
