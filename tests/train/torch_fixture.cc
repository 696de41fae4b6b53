#include "train/torch_fixture.h"

#include <torch/version.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "train/losses.h"
#include "train/masking.h"
#include "train/torch_tensor.h"

namespace lasnet::test {
namespace {

constexpr double kBudgetWeight = 10, kDistillWeight = 0.5, kDistillTemperature = 4;
constexpr uint64_t kNoiseSeed = 8;
constexpr int64_t kSamples = 32;  ///< of a gradient

/// FNV-1a.
uint32_t hash(const std::string& text) {
  uint32_t value = 2166136261u;
  for (unsigned char c : text) value = (value ^ c) * 16777619u;
  return value;
}

/// In [-1, 1): a function of the tensor's name and the index alone, which Python computes too.
double hashed(const std::string& name, size_t index) {
  uint32_t x = hash(name) + static_cast<uint32_t>(index) * 0x9E3779B9u;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return (x ^ (x >> 16)) / 2147483648.0 - 1;
}

Tensor hashed_tensor(const std::string& name, Shape shape, double scale, double middle = 0) {
  Tensor tensor(std::move(shape));
  for (size_t i = 0; i < tensor.data.size(); ++i)
    tensor.data[i] = static_cast<float>(middle + scale * hashed(name, i));
  return tensor;
}

Tensor hashed_parameter(const TensorSpec& item) {
  const auto& [name, shape] = item;
  if (name.ends_with("running_var")) return hashed_tensor(name, shape, 0.75, 1.25);
  if (name.ends_with("running_mean") || name.ends_with("bias")) return hashed_tensor(name, shape, 0.2);
  if (shape.size() == 1) return hashed_tensor(name, shape, 0.3, 0.6);
  const auto inputs = static_cast<double>(element_count(shape) / shape[0]);
  return hashed_tensor(name, shape, std::sqrt(6 / inputs));
}

/// The norm, and then evenly spaced values.
Tensor digest(const torch::Tensor& tensor) {
  const Tensor values = from_torch(tensor);
  const auto count = static_cast<int64_t>(values.data.size());
  const int64_t samples = std::min(count, kSamples);
  Tensor result({samples + 1});
  result.data[0] = tensor.detach().to(torch::kFloat64).norm().item<float>();
  for (int64_t i = 0; i < samples; ++i) result.data[i + 1] = values.data[i * count / samples];
  return result;
}

std::string description(const TorchCase& c) {
  return nlohmann::json{{"arch", c.arch.name},
                        {"width", c.arch.width},
                        {"classes", c.arch.classes},
                        {"stem", to_string(c.arch.stem)},
                        {"granularity", granularity_to_string(c.arch.granularity)},
                        {"images", c.images},
                        {"size", {c.size.height, c.size.width}},
                        {"training", c.training},
                        {"standardise_maskers", c.standardise_maskers},
                        {"straight_through_dilation", c.straight_through_dilation},
                        {"temperature", c.temperature},
                        {"noise_scale", c.noise_scale},
                        {"target", c.target},
                        {"progress", c.progress}}
      .dump();
}

/// Every loss, and their sum as the trainer weighs them, which is derived.
void add_losses(const TorchCase& c, const MaskedOutput& output, Weights& tensors) {
  const CostAccount account(NetworkCost::macs(make_spec(c.arch), c.size));
  std::vector<int64_t> labels(static_cast<size_t>(c.images));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) % c.arch.classes;
  const torch::Tensor ratios = account.network_ratios(output),
                      blocks = account.block_ratios(MaskShares(output));
  const torch::Tensor teacher = to_torch(hashed_tensor("teacher", {c.images, c.arch.classes}, 3));
  const torch::Tensor classes = classification_loss(output.logits, torch::tensor(labels), /*smoothing=*/0);
  const torch::Tensor flops = flops_loss(ratios, c.target);
  const torch::Tensor bounds = bounds_loss(blocks, ratio_bounds(c.target, c.progress));
  const torch::Tensor distilled = distillation_loss(output.logits, teacher, kDistillTemperature);
  const torch::Tensor total = classes + kBudgetWeight * (flops + bounds) + kDistillWeight * distilled;
  total.backward();
  tensors["network_ratios"] = from_torch(ratios);
  tensors["losses"] = from_torch(torch::stack({classes, kBudgetWeight * (flops + bounds), distilled, total}));
}

ArchConfig arch(const char* name, double width, const char* granularity, StemKind stem = StemKind::imagenet) {
  return {.name = name,
          .width = width,
          .classes = 7,
          .stem = stem,
          .granularity = parse_granularity(granularity)};
}

}  // namespace

// Channels are multiples of 16, without which oneDNN 2.6 (Debian's libtorch) writes beyond its buffers in the
// backward pass of PyTorch's own projections.
std::vector<TorchCase> torch_cases() {
  return {
      {.name = "resnet18", .arch = arch("resnet18", 0.25, "4-4-2-1"), .size = {64, 64}},
      {.name = "resnet18_small",
       .arch = arch("resnet18", 0.25, "8-3-2-9", StemKind::small),
       .size = {48, 33},
       .noise_scale = 0.25,
       .progress = 0.9},
      {.name = "resnet50",
       .arch = arch("resnet50", 0.25, "3-5-2-1"),
       .size = {97, 75},
       .standardise_maskers = true,
       .straight_through_dilation = true,
       .temperature = 0.7,
       .progress = 0.2},
      {.name = "resnext50_32x4d",
       .arch = arch("resnext50_32x4d", 0.25, "4-4-2-1"),
       .size = {64, 64},
       .training = false},
      {.name = "regnet_y_800mf",
       .arch = arch("regnet_y_800mf", 0.5, "4-2-2-1"),
       .size = {64, 96},
       .straight_through_dilation = true},
  };
}

Safetensors torch_fixture(const TorchCase& c) {
  const ModelSpec spec = make_spec(c.arch);
  Weights weights;
  for (const TensorSpec& item : required_tensors(spec)) weights[item.name] = hashed_parameter(item);
  MaskedNet net(spec, weights, c.standardise_maskers);
  Random random(kNoiseSeed);
  const MaskPolicy policy{.kind = c.training ? MaskPolicy::Kind::sample : MaskPolicy::Kind::decide,
                          .temperature = c.temperature,
                          .noise_scale = c.noise_scale,
                          .random = &random,
                          .straight_through_dilation = c.straight_through_dilation};
  const Tensor images = hashed_tensor("images", {c.images, 3, c.size.height, c.size.width}, 1.7);
  const MaskedOutput output = net.forward(to_torch(images), policy, c.training);

  Weights tensors;
  tensors["logits"] = from_torch(output.logits);
  tensors["rates"] = from_torch(output.rates);
  tensors["dilated_rates"] = from_torch(output.dilated_rates);
  Random again(kNoiseSeed);
  for (size_t i = 0; i < output.blocks.size(); ++i) {
    const BlockMasks& masks = output.blocks[i];
    const std::string number = std::to_string(i);
    tensors["difference." + number] = from_torch(masks.logit_difference);
    tensors["patches." + number] = from_torch(masks.patches);
    if (c.training) tensors["noise." + number] = from_torch(logistic_noise(masks.patches.sizes(), again));
  }
  add_losses(c, output, tensors);
  for (const NamedTensor& item : net.parameters())
    if (item.tensor.grad().defined()) tensors["gradient." + item.name] = digest(item.tensor.grad());
  for (const auto& [name, value] : net.state())
    if (name.find(".running_") != std::string::npos) tensors["statistic." + name] = digest(to_torch(value));
  return {.tensors = std::move(tensors), .metadata = {{"case", description(c)}, {"torch", TORCH_VERSION}}};
}

}  // namespace lasnet::test
