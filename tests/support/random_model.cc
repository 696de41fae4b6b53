#include "support/random_model.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace lasnet::test {
namespace {

void randomize_norm(const ConvSpec& conv, double scale, uint64_t seed, Weights& weights) {
  Random random(seed, conv.norm_name);
  auto fill = [&](const char* part, auto&& draw) {
    for (float& value : weights.at(conv.norm_name + "." + part).data) value = static_cast<float>(draw());
  };
  fill("weight", [&] { return scale * random.uniform(0.5, 1.5); });
  fill("bias", [&] { return 0.2 * random.normal(); });
  fill("running_mean", [&] { return 0.2 * random.normal(); });
  fill("running_var", [&] { return random.uniform(0.5, 2.0); });
}

/// Larger weights than a fresh masker's, so that patches of one image fall on both sides of the threshold.
void randomize_masker(const BlockSpec& block, uint64_t seed, Weights& weights) {
  Random random(seed, block.masker_name());
  Tensor& weight = weights.at(block.masker_name() + ".weight");
  for (float& value : weight.data) value = static_cast<float>(random.normal());
  // Centred over the channels: decisions then depend on differences between patches, not on the common level.
  for (int row = 0; row < 2; ++row) {
    double mean = 0;
    for (int c = 0; c < block.in_channels; ++c) mean += weight.data[row * block.in_channels + c];
    for (int c = 0; c < block.in_channels; ++c) {
      weight.data[row * block.in_channels + c] -= static_cast<float>(mean / block.in_channels);
    }
  }
  weights.at(block.masker_name() + ".bias").data = {static_cast<float>(0.1 * random.normal()), 0.0f};
}

bool on_border(const PatchGrid& grid, int64_t patch) {
  int64_t row = patch / grid.cols(), col = patch % grid.cols();
  return row == 0 || col == 0 || row + 1 == grid.rows() || col + 1 == grid.cols();
}

std::vector<uint8_t> make_patches(const PatchGrid& grid, MaskPattern pattern, Random& random) {
  std::vector<uint8_t> patches(grid.patches(), pattern == MaskPattern::full);
  if (pattern == MaskPattern::single) patches[random.below(patches.size())] = 1;
  for (size_t i = 0; i < patches.size(); ++i) {
    if (pattern == MaskPattern::border) patches[i] = on_border(grid, static_cast<int64_t>(i));
    if (pattern == MaskPattern::random) patches[i] = random.uniform() < 0.5;
  }
  return patches;
}

}  // namespace

ArchConfig narrow_arch(const std::string& name, const std::string& granularity, double width) {
  ArchConfig arch;
  arch.name = name.substr(0, name.find(':'));
  if (name.find(':') != std::string::npos) arch.se_pool = parse_se_pool(name.substr(name.find(':') + 1));
  arch.width = width;
  arch.classes = 10;
  arch.granularity = parse_granularity(granularity);
  return arch;
}

Model random_model(const ArchConfig& arch, uint64_t seed) {
  Model model;
  model.spec = make_spec(arch);
  model.weights = random_weights(model.spec, seed);
  randomize_norm(model.spec.stem, 1.0, seed, model.weights);
  for (const BlockSpec& block : model.spec.blocks) {
    for (const ConvSpec& conv : block.convs) {
      // A damped last convolution keeps deep residual sums from growing.
      randomize_norm(conv, &conv == &block.convs.back() ? 0.3 : 1.0, seed, model.weights);
    }
    if (block.projection) randomize_norm(*block.projection, 1.0, seed, model.weights);
    if (block.is_dynamic()) randomize_masker(block, seed, model.weights);
  }
  return model;
}

Tensor random_tensor(Shape shape, Random& random) {
  Tensor tensor(std::move(shape));
  for (float& value : tensor.data) value = static_cast<float>(random.normal());
  return tensor;
}

Tensor random_input(int64_t images, MapSize size, uint64_t seed) {
  Random random(seed, "input");
  return random_tensor({images, 3, size.height, size.width}, random);
}

MaskSet make_masks(const ModelSpec& spec, int64_t images, MapSize image, MaskPattern pattern, uint64_t seed) {
  NetworkGeometry geometry = network_geometry(spec, image);
  Random random(seed, "masks");
  MaskSet masks;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (!spec.blocks[i].is_dynamic()) continue;
    const BlockGeometry& block = geometry.blocks[i];
    ByteTensor mask({images, block.output.height, block.output.width});
    int64_t pixels = block.output.pixels();
    for (int64_t n = 0; n < images; ++n) {
      expand_patches(block.grid, make_patches(block.grid, pattern, random),
                     std::span(mask.data).subspan(n * pixels, pixels));
    }
    masks[spec.blocks[i].name] = std::move(mask);
  }
  return masks;
}

MaskSet masks_of(const Trace& trace) {
  MaskSet masks;
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity > 0) masks[block.name] = block.mask;
  }
  return masks;
}

MaskSet masks_from(const Trace& trace, const std::vector<float>& thresholds) {
  MaskSet masks;
  for (size_t b = 0; b < trace.blocks.size(); ++b) {
    const BlockTrace& block = trace.blocks[b];
    if (block.granularity == 0) continue;
    const Tensor& differences = block.logit_difference;
    ByteTensor mask({differences.shape[0], block.height, block.width});
    uint8_t* pixel = mask.data.data();
    for (int64_t n = 0; n < differences.shape[0]; ++n) {
      for (int64_t y = 0; y < block.height; ++y) {
        for (int64_t x = 0; x < block.width; ++x) {
          const int64_t row = n * differences.shape[1] + y / block.granularity;
          *pixel++ = differences.data[row * differences.shape[2] + x / block.granularity] >= thresholds[b];
        }
      }
    }
    masks[block.name] = std::move(mask);
  }
  return masks;
}

std::vector<float> thresholds_for(const Trace& trace, double rate) {
  std::vector<float> thresholds;
  for (const BlockTrace& block : trace.blocks) {
    std::vector<float> differences = block.logit_difference.data;
    std::sort(differences.begin(), differences.end(), std::greater<>());
    const auto last = static_cast<size_t>(rate * static_cast<double>(differences.size()));
    thresholds.push_back(last < differences.size() ? differences[last] : 0);
  }
  return thresholds;
}

double logits_tolerance(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return 1e-4;
    case Precision::tf32:
    case Precision::fp16:
      return 1e-2;
    case Precision::bf16:
      return 8e-2;
    case Precision::int8:
      return 0.15;
  }
  return 0;
}

double relative_error(const Tensor& got, const Tensor& expected) {
  if (got.shape != expected.shape) return INFINITY;
  double error = 0, scale = 0;
  for (size_t i = 0; i < expected.data.size(); ++i) {
    double difference = std::abs(double{got.data[i]} - expected.data[i]);
    if (!(difference <= error)) error = difference;  // also takes NaN
    scale = std::max(scale, std::abs(double{expected.data[i]}));
  }
  return error / std::max(scale, 1e-30);
}

int64_t count_wrong_decisions(const Trace& got, const Trace& expected, double tolerance) {
  int64_t wrong = 0;
  for (size_t b = 0; b < expected.blocks.size(); ++b) {
    const std::vector<float>& reference = expected.blocks[b].logit_difference.data;
    const std::vector<float>& tested = got.blocks[b].logit_difference.data;
    if (tested.size() != reference.size()) return INT64_MAX;
    double scale = 0;
    for (float value : reference) scale = std::max(scale, std::abs(double{value}));
    for (size_t i = 0; i < reference.size(); ++i) {
      if (std::abs(reference[i]) > tolerance * scale && (tested[i] >= 0) != (reference[i] >= 0)) ++wrong;
    }
  }
  return wrong;
}

}  // namespace lasnet::test
