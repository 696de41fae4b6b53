// Which tensors a network needs, fresh ones, and the check of given ones.
#include <cmath>

#include "core/fail.h"
#include "core/random.h"
#include "core/suggest.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

constexpr size_t kMaxListedProblems = 20;

void add_conv(const ConvSpec& conv, std::vector<TensorSpec>& out) {
  out.push_back(
      {conv.name + ".weight", {conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel}});
  for (const char* part : {"weight", "bias", "running_mean", "running_var"}) {
    out.push_back({conv.norm_name + "." + part, {conv.out_channels}});
  }
}

void add_squeeze_excite(const SqueezeExciteSpec& se, std::vector<TensorSpec>& out) {
  out.push_back({se.name + ".fc1.weight", {se.squeeze_channels, se.channels, 1, 1}});
  out.push_back({se.name + ".fc1.bias", {se.squeeze_channels}});
  out.push_back({se.name + ".fc2.weight", {se.channels, se.squeeze_channels, 1, 1}});
  out.push_back({se.name + ".fc2.bias", {se.channels}});
}

void fill_conv(const ConvSpec& conv, uint64_t seed, Weights& weights) {
  std::string name = conv.name + ".weight";
  Random random(seed, name);
  Tensor weight({conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel});
  double fan_out = static_cast<double>(conv.out_channels) / conv.groups * conv.kernel * conv.kernel;
  double std = std::sqrt(2.0 / fan_out);
  for (float& value : weight.data) value = static_cast<float>(std * random.normal());
  weights[name] = std::move(weight);
  Shape channels = {conv.out_channels};
  weights[conv.norm_name + ".weight"] = Tensor(channels, 1.0f);
  weights[conv.norm_name + ".bias"] = Tensor(channels, 0.0f);
  weights[conv.norm_name + ".running_mean"] = Tensor(channels, 0.0f);
  weights[conv.norm_name + ".running_var"] = Tensor(channels, 1.0f);
}

/// Uniform(+-1/sqrt(fan_in)): what Conv2d and Linear start with.
Tensor fan_in_uniform(Shape shape, int fan_in, Random& random) {
  Tensor tensor(std::move(shape));
  double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  for (float& value : tensor.data) value = static_cast<float>(random.uniform(-bound, bound));
  return tensor;
}

void fill_squeeze_excite(const SqueezeExciteSpec& se, uint64_t seed, Weights& weights) {
  std::vector<TensorSpec> tensors;
  add_squeeze_excite(se, tensors);
  Random random(seed, se.name);
  for (TensorSpec& tensor : tensors) {
    int fan_in = tensor.name.find(".fc1.") != std::string::npos ? se.channels : se.squeeze_channels;
    weights[tensor.name] = fan_in_uniform(std::move(tensor.shape), fan_in, random);
  }
}

bool all_finite(const Tensor& tensor) {
  for (float value : tensor.data) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

/// Buffers that PyTorch stores and inference ignores.
bool is_ignored(const std::string& name) { return name.ends_with(".num_batches_tracked"); }

std::string problem_of(const TensorSpec& needed, const Weights& weights,
                       const std::vector<std::string>& unexpected) {
  auto found = weights.find(needed.name);
  if (found == weights.end()) {
    std::string near = nearest_name(needed.name, unexpected);
    return fmt::format("missing    {} {}{}", needed.name, to_string(needed.shape),
                       near.empty() ? "" : fmt::format(" (the file has '{}')", near));
  }
  if (found->second.shape != needed.shape) {
    return fmt::format("shape      {}: expected {}, got {}", needed.name, to_string(needed.shape),
                       to_string(found->second.shape));
  }
  if (!all_finite(found->second)) return fmt::format("not finite {}: holds NaN or infinity", needed.name);
  return "";
}

}  // namespace

std::vector<TensorSpec> required_tensors(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors;
  add_conv(spec.stem, tensors);
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) add_conv(conv, tensors);
    if (block.squeeze_excite) add_squeeze_excite(*block.squeeze_excite, tensors);
    if (block.projection) add_conv(*block.projection, tensors);
    if (block.is_dynamic()) {
      tensors.push_back({block.masker_name() + ".weight", {2, block.in_channels, 1, 1}});
      tensors.push_back({block.masker_name() + ".bias", {2}});
    }
  }
  tensors.push_back({spec.head_name + ".weight", {spec.arch.classes, spec.features}});
  tensors.push_back({spec.head_name + ".bias", {spec.arch.classes}});
  return tensors;
}

Weights random_weights(const ModelSpec& spec, uint64_t seed) {
  Weights weights;
  fill_conv(spec.stem, seed, weights);
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) fill_conv(conv, seed, weights);
    if (block.squeeze_excite) fill_squeeze_excite(*block.squeeze_excite, seed, weights);
    if (block.projection) fill_conv(*block.projection, seed, weights);
  }
  Random random(seed, spec.head_name);
  weights[spec.head_name + ".weight"] =
      fan_in_uniform({spec.arch.classes, spec.features}, spec.features, random);
  weights[spec.head_name + ".bias"] = fan_in_uniform({spec.arch.classes}, spec.features, random);
  init_maskers(spec, seed, fresh_masker_bias(spec.arch), weights);
  return weights;
}

void init_maskers(const ModelSpec& spec, uint64_t seed, float bias0, Weights& weights) {
  for (const BlockSpec& block : spec.blocks) {
    if (!block.is_dynamic()) continue;
    std::string name = block.masker_name();
    Random random(seed, name);
    weights[name + ".weight"] = fan_in_uniform({2, block.in_channels, 1, 1}, block.in_channels, random);
    Tensor bias({2});
    bias.data = {bias0, 0.0f};
    weights[name + ".bias"] = std::move(bias);
  }
}

void check_weights(const ModelSpec& spec, const Weights& weights, const std::string& origin) {
  std::vector<TensorSpec> needed = required_tensors(spec);
  std::map<std::string, bool> known;
  for (const TensorSpec& tensor : needed) known[tensor.name] = true;
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : weights) {
    if (!known.contains(name) && !is_ignored(name)) unexpected.push_back(name);
  }
  std::vector<std::string> problems;
  for (const TensorSpec& tensor : needed) {
    // Near names are looked for only where they will be read.
    bool listed = problems.size() < kMaxListedProblems;
    std::string problem = problem_of(tensor, weights, listed ? unexpected : std::vector<std::string>{});
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  for (const std::string& name : unexpected) {
    problems.push_back(fmt::format("unexpected {} {}", name, to_string(weights.at(name).shape)));
  }
  if (problems.empty()) return;
  size_t count = problems.size();
  if (count > kMaxListedProblems) {
    problems.resize(kMaxListedProblems);
    problems.push_back(fmt::format("... and {} more", count - kMaxListedProblems));
  }
  fail("{}: {} tensor{} do{} not fit {} (granularity {}, {} classes):\n  {}", origin, count,
       count == 1 ? "" : "s", count == 1 ? "es" : "", spec.arch.name,
       granularity_to_string(spec.arch.granularity), spec.arch.classes, fmt::join(problems, "\n  "));
}

}  // namespace lasnet
