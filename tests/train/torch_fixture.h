// What the trainer's network computes and derives on networks, images and noise that Python can make too: the
// fixtures of tests/python/torch_module, which hold lasnet.torch to the same.
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "lasnet/model.h"
#include "train/masked_net.h"

namespace lasnet::test {

struct TorchCase {
  std::string name;
  ArchConfig arch;
  MapSize size;
  int64_t images = 3;
  bool training = true;
  bool standardise_maskers = false;
  bool straight_through_dilation = false;
  double temperature = 2.0, noise_scale = 1.0, target = 0.5, progress = 0.1;
};

std::vector<TorchCase> torch_cases();

/// Masks, logits, rates, losses, and of every parameter's gradient and every running statistic its norm and
/// some of its values. The metadata has the case and the version of libtorch.
Safetensors torch_fixture(const TorchCase& c);

}  // namespace lasnet::test
