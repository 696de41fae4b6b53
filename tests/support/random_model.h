// Networks, inputs and masks made from a seed, for tests.
#pragma once

#include <string>

#include "base/random.h"
#include "lasnet/engine.h"
#include "lasnet/geometry.h"

namespace lasnet::test {

/// A network of ten classes. `name` may ask for the dense pool: "regnet_y_400mf:dense".
ArchConfig narrow_arch(const std::string& name, const std::string& granularity, double width = 0.25);

/// A model with random weights, non-trivial BatchNorm statistics and maskers whose decisions differ between
/// patches.
Model random_model(const ArchConfig& arch, uint64_t seed);

/// Normal values.
Tensor random_tensor(Shape shape, Random& random);

/// Normal values [images, 3, size.height, size.width].
Tensor random_input(int64_t images, MapSize size, uint64_t seed);

enum class MaskPattern { empty, full, single, border, random };

/// One mask per dynamic block, constant over each patch.
MaskSet make_masks(const ModelSpec& spec, int64_t images, MapSize image, MaskPattern pattern, uint64_t seed);

/// The masks that a run recorded.
MaskSet masks_of(const Trace& trace);

/// The masks that follow from the differences that a run recorded: a patch is active from its block's
/// threshold on.
MaskSet masks_from(const Trace& trace, const std::vector<float>& thresholds);

/// Thresholds of all blocks at which this share of the patches of each block of `trace` is active, about.
std::vector<float> thresholds_for(const Trace& trace, double rate);

/// Rounding through a whole network, relative to the largest logit, by the precision of products.
double logits_tolerance(Precision precision);

/// Largest absolute difference over the largest absolute value of `expected`.
double relative_error(const Tensor& got, const Tensor& expected);

/// Blocks' masks in `trace` against `expected`'s, where the expected logit difference is farther from 0 than
/// `tolerance` times the largest of its block. Returns the number of patches that disagree.
int64_t count_wrong_decisions(const Trace& got, const Trace& expected, double tolerance);

}  // namespace lasnet::test
