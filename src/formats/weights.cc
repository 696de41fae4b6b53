// Which tensors a network needs, fresh ones, and the check of given ones.
#include "formats/weights.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "base/fail.h"
#include "base/finite.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/suggest.h"
#include "formats/printable.h"
#include "formats/tensor_names.h"
#include "lasnet/model.h"

namespace lasnet {
namespace {

constexpr size_t kMaxListedProblems = 12;
constexpr size_t kFewProblems = 3;  ///< where advice says more
constexpr size_t kMaxListedNames = 8;

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

void fill_head(const ModelSpec& spec, uint64_t seed, Weights& weights) {
  Random random(seed, spec.head_name);
  weights[spec.head_name + ".weight"] =
      fan_in_uniform({spec.arch.classes, spec.features}, spec.features, random);
  weights[spec.head_name + ".bias"] = fan_in_uniform({spec.arch.classes}, spec.features, random);
}

/// Buffers that PyTorch stores and inference ignores.
bool is_ignored(const std::string& name) { return name.ends_with(".num_batches_tracked"); }

/// The shape that is expected; how many classes there are is only known by the classifier's weights.
std::string expected_shape(const TensorSpec& needed, const ModelSpec& spec, bool knows_classes) {
  if (knows_classes || !needed.name.starts_with(spec.head_name + ".")) return to_string(needed.shape);
  return needed.shape.size() == 2 ? fmt::format("[classes, {}]", needed.shape[1]) : "[classes]";
}

std::string problem_of(const TensorSpec& needed, const std::string& shape, const Weights& weights,
                       const std::vector<std::string>& unexpected) {
  auto found = weights.find(needed.name);
  if (found == weights.end()) {
    std::string near = nearest_name(needed.name, unexpected);
    return fmt::format("missing    {} {}{}", needed.name, shape,
                       near.empty() ? "" : fmt::format(" (the file has '{}')", near));
  }
  if (found->second.shape != needed.shape) {
    return fmt::format("shape      {}: expected {}, got {}", needed.name, shape,
                       to_string(found->second.shape));
  }
  if (!all_finite(found->second.data))
    return fmt::format("not finite {}: holds NaN or infinity", needed.name);
  return "";
}

/// The first `most` of the lines, and how many more there are.
std::vector<std::string> first_of(std::vector<std::string> lines, size_t most) {
  const size_t count = lines.size();
  if (count <= most) return lines;
  lines.resize(most);
  lines.push_back(fmt::format("... and {} more", count - most));
  return lines;
}

/// A matrix that reads the network's features, where the classifier's own name is missing.
std::vector<std::string> classifier_advice(const ModelSpec& spec, const Weights& weights,
                                           const std::vector<std::string>& unexpected) {
  std::vector<std::string> advice;
  if (weights.contains(spec.head_name + ".weight")) return advice;
  for (const std::string& name : unexpected) {
    const Shape& shape = weights.at(name).shape;
    if (!name.ends_with(".weight") || shape.size() != 2 || shape[1] != spec.features) continue;
    const std::string head = name.substr(0, name.rfind('.'));
    advice.push_back(
        fmt::format("'{0}' is probably the classifier, of {1} outputs. If nothing but dropout is beside it, "
                    "call its tensors "
                    "'{2}.weight' and '{2}.bias'",
                    head, shape[0], spec.head_name));
  }
  if (advice.size() > 1) {
    advice = {"the classifier has several layers, which is not supported: expected one, '" + spec.head_name +
              "'"};
  }
  return advice;
}

/// What stands before the names of one network, or of several in one file.
std::vector<std::string> prefix_advice(const ModelSpec& spec, const std::vector<std::string>& unexpected) {
  const std::vector<std::string> prefixes = prefixes_of(landmark(spec), unexpected);
  if (prefixes.size() == 1) {
    return {
        fmt::format("the network's names begin with '{0}', and others do not. Keep those alone, without it: "
                    "{{k[{1}:]: v for k, v in weights.items() if k.startswith(\"{0}\")}}",
                    printable(prefixes[0]), prefixes[0].size())};
  }
  if (prefixes.size() > 1) {
    return {
        fmt::format("there are several networks, '{}': keep the names of one alone, without what they begin "
                    "with",
                    printable(fmt::format("{}", fmt::join(prefixes, "', '"))))};
  }
  const std::string prefix = common_prefix(unexpected);
  if (prefix.empty()) return {};
  return {fmt::format("all of these begin with '{}', and none is the network's '{}.weight'",
                      printable(prefix), spec.stem.name)};
}

/// Advice that holds for most of the names is worth more than a list of them.
std::vector<std::string> advice_on_names(const ModelSpec& spec, const Weights& weights,
                                         const std::vector<std::string>& unexpected) {
  std::vector<std::string> advice;
  if (!weights.contains(landmark(spec))) advice = prefix_advice(spec, unexpected);
  if (advice.empty()) advice = classifier_advice(spec, weights, unexpected);
  return advice;
}

/// Those first that do not even have the prefix of the others.
std::vector<std::string> describe_unexpected(const ModelSpec& spec, const Weights& weights,
                                             std::vector<std::string> names) {
  const std::vector<std::string> prefixes = prefixes_of(landmark(spec), names);
  std::stable_partition(names.begin(), names.end(), [&](const std::string& name) {
    return prefixes.size() == 1 && !name.starts_with(prefixes.front());
  });
  std::vector<std::string> lines;
  for (const std::string& name : names) {
    lines.push_back(fmt::format("unexpected {} {}", printable(name), to_string(weights.at(name).shape)));
  }
  return lines;
}

/// Adds the weights and scales that training changes.
void add_up(const TensorSpec& tensor, ParameterCount& count) {
  if (tensor.name.ends_with(".running_mean") || tensor.name.ends_with(".running_var")) return;
  const bool is_masker = tensor.name.find(".masker.") != std::string::npos;
  (is_masker ? count.maskers : count.network) += element_count(tensor.shape);
}

}  // namespace

std::vector<TensorSpec> required_tensors(const BlockSpec& block) {
  std::vector<TensorSpec> tensors;
  for (const ConvSpec& conv : block.convs) add_conv(conv, tensors);
  if (block.squeeze_excite) add_squeeze_excite(*block.squeeze_excite, tensors);
  if (block.projection) add_conv(*block.projection, tensors);
  if (block.is_dynamic()) {
    tensors.push_back({block.masker_name() + ".weight", {2, block.in_channels, 1, 1}});
    tensors.push_back({block.masker_name() + ".bias", {2}});
  }
  return tensors;
}

std::vector<TensorSpec> required_tensors(const ModelSpec& spec) {
  std::vector<TensorSpec> tensors;
  add_conv(spec.stem, tensors);
  for (const BlockSpec& block : spec.blocks)
    std::ranges::move(required_tensors(block), std::back_inserter(tensors));
  if (spec.has_head()) {
    tensors.push_back({spec.head_name + ".weight", {spec.arch.classes, spec.features}});
    tensors.push_back({spec.head_name + ".bias", {spec.arch.classes}});
  }
  return tensors;
}

ParameterCount count_parameters(const std::vector<TensorSpec>& tensors) {
  ParameterCount count;
  for (const TensorSpec& tensor : tensors) add_up(tensor, count);
  return count;
}

void check_weight_memory(const ModelSpec& spec, const std::string& origin) {
  int64_t floats = 0;
  for (const TensorSpec& tensor : required_tensors(spec)) floats += element_count(tensor.shape);
  require_memory(2 * floats * static_cast<int64_t>(sizeof(float)), origin, "use a smaller network");
}

Weights random_weights(const ModelSpec& spec, uint64_t seed) {
  check_weight_memory(spec, fmt::format("{} of width {:g}", spec.arch.name, spec.arch.width));
  Weights weights;
  fill_conv(spec.stem, seed, weights);
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) fill_conv(conv, seed, weights);
    if (block.squeeze_excite) fill_squeeze_excite(*block.squeeze_excite, seed, weights);
    if (block.projection) fill_conv(*block.projection, seed, weights);
  }
  if (spec.has_head()) fill_head(spec, seed, weights);
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
  std::set<std::string> known;
  for (const TensorSpec& tensor : needed) known.insert(tensor.name);
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : weights) {
    if (!known.contains(name) && !is_ignored(name)) unexpected.push_back(name);
  }
  const bool knows_classes = weights.contains(spec.head_name + ".weight");
  std::vector<std::string> problems;
  for (const TensorSpec& tensor : needed) {
    // Near names are looked for only where they will be read.
    bool listed = problems.size() < kMaxListedProblems;
    std::string problem = problem_of(tensor, expected_shape(tensor, spec, knows_classes), weights,
                                     listed ? unexpected : std::vector<std::string>{});
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  const size_t count = problems.size() + unexpected.size();
  if (count == 0) return;
  std::vector<std::string> lines = advice_on_names(spec, weights, unexpected);
  const bool is_renamed = !lines.empty() && !weights.contains(landmark(spec));
  std::ranges::move(first_of(std::move(problems), is_renamed ? kFewProblems : kMaxListedProblems),
                    std::back_inserter(lines));
  std::ranges::move(first_of(describe_unexpected(spec, weights, std::move(unexpected)), kMaxListedNames),
                    std::back_inserter(lines));
  fail("{}: {} tensor{} do{} not fit {} (granularity {}{}):\n  {}", origin, count, count == 1 ? "" : "s",
       count == 1 ? "es" : "", spec.arch.name, granularity_to_string(spec.arch.granularity),
       knows_classes ? fmt::format(", {} classes", spec.arch.classes) : "", fmt::join(lines, "\n  "));
}

}  // namespace lasnet
