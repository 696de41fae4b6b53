#include "train/masked_net.h"

#include <algorithm>

#include "base/fail.h"
#include "base/math.h"
#include "train/autocast.h"
#include "train/device.h"
#include "train/masking.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

std::string masker_mean_name(const BlockSpec& block) { return block.masker_name() + ".running_mean"; }
std::string masker_variance_name(const BlockSpec& block) { return block.masker_name() + ".running_var"; }

constexpr const char* kWantedRates = "masker_rates";

bool is_buffer(const std::string& name) {
  return name.ends_with(".running_mean") || name.ends_with(".running_var");
}

MapSize map_size(const torch::Tensor& x) { return {x.size(2), x.size(3)}; }

torch::Tensor forced_mask(const ByteTensor& mask, const std::string& block, int64_t batch, MapSize map) {
  Shape expected = {batch, map.height, map.width};
  if (mask.shape != expected) {
    fail("forced mask of block {}: expected shape {}, got {}", block, to_string(expected),
         to_string(mask.shape));
  }
  torch::Tensor values = torch::empty({batch, 1, map.height, map.width}, torch::kFloat32);
  std::copy(mask.data.begin(), mask.data.end(), values.data_ptr<float>());
  return values;
}

/// What a 1x1 convolution of stride n reads of x. oneDNN 2.6, which Debian's libtorch has, writes beyond its
/// buffers in the backward pass of such convolutions where the channels are no multiple of 16.
torch::Tensor every_nth_pixel(const torch::Tensor& x, int64_t n) {
  return x.slice(2, 0, c10::nullopt, n)
      .slice(3, 0, c10::nullopt, n)
      .contiguous(torch::MemoryFormat::ChannelsLast);
}

}  // namespace

torch::Tensor MaskedNet::ConvNorm::forward(const torch::Tensor& x, const NormPolicy& policy) const {
  const bool skips_pixels = spec.kernel == 1 && spec.stride > 1;
  torch::Tensor y =
      torch::conv2d(skips_pixels ? every_nth_pixel(x, spec.stride) : x, weight, /*bias=*/{},
                    skips_pixels ? 1 : spec.stride, spec.padding(), /*dilation=*/1, spec.groups);
  return batch_norm(y, norm, policy);
}

torch::Tensor MaskedNet::SqueezeExcite::forward(const torch::Tensor& z, const torch::Tensor& mask) const {
  torch::Tensor mean;
  const torch::Tensor m = mask.defined() ? mask.to(z.scalar_type()) : mask;
  if (pool == SePool::dense || !mask.defined()) {
    mean = z.mean({2, 3}, /*keepdim=*/true);
  } else {
    mean = (z * m).sum({2, 3}, /*keepdim=*/true) / m.sum({2, 3}, /*keepdim=*/true).clamp_min(1);
  }
  torch::Tensor squeezed = torch::conv2d(mean, fc1_weight, fc1_bias).relu_();
  return z * torch::sigmoid(torch::conv2d(squeezed, fc2_weight, fc2_bias));
}

MaskedNet::MaskedNet(const ModelSpec& spec, const Weights& weights, bool standardise_maskers,
                     torch::Device device)
    : spec_(spec), device_(device), standardise_maskers_(standardise_maskers) {
  check_weights(spec, weights, "network to train");
  if (spec.arch.dilated_stages > 0)
    fail("network to train: {} dilated stages; networks with them run, but are not trained",
         spec.arch.dilated_stages);
  for (const TensorSpec& item : required_tensors(spec)) {
    torch::Tensor value = to_torch(weights.at(item.name)).to(device);
    if (!is_buffer(item.name)) parameters_.push_back({item.name, value.requires_grad_()});
    state_.push_back({item.name, value});
  }
  int64_t maskers = 0;
  for (const BlockSpec& block : spec.blocks) {
    if (!standardise_maskers || !block.is_dynamic()) continue;
    state_.push_back({masker_mean_name(block), torch::zeros({block.in_channels}, device)});
    state_.push_back({masker_variance_name(block), torch::ones({block.in_channels}, device) - kNormEpsilon});
    ++maskers;
  }
  if (standardise_maskers) {
    wanted_rates_ = torch::ones({maskers}, device);
    state_.push_back({kWantedRates, wanted_rates_});
  }
  stem_ = conv_norm(spec.stem);
  for (const BlockSpec& description : spec.blocks) blocks_.push_back(make_block(description));
  head_weight_ = tensor(spec.head_name + ".weight");
  head_bias_ = tensor(spec.head_name + ".bias");
}

torch::Tensor MaskedNet::tensor(const std::string& name) const {
  auto found = std::ranges::find(state_, name, &NamedTensor::name);
  if (found == state_.end()) fail("network has no tensor {}", name);
  return found->tensor;
}

MaskedNet::ConvNorm MaskedNet::conv_norm(const ConvSpec& spec) const {
  const std::string& norm = spec.norm_name;
  return {.spec = spec,
          .weight = tensor(spec.name + ".weight"),
          .norm = {.gamma = tensor(norm + ".weight"),
                   .beta = tensor(norm + ".bias"),
                   .mean = tensor(norm + ".running_mean"),
                   .variance = tensor(norm + ".running_var")}};
}

MaskedNet::Block MaskedNet::make_block(const BlockSpec& spec) const {
  Block block;
  block.spec = spec;
  for (const ConvSpec& conv : spec.convs) block.body.push_back(conv_norm(conv));
  if (spec.squeeze_excite) {
    const std::string& name = spec.squeeze_excite->name;
    block.squeeze_excite = {.pool = spec.squeeze_excite->pool,
                            .fc1_weight = tensor(name + ".fc1.weight"),
                            .fc1_bias = tensor(name + ".fc1.bias"),
                            .fc2_weight = tensor(name + ".fc2.weight"),
                            .fc2_bias = tensor(name + ".fc2.bias")};
  }
  if (spec.projection) block.projection = conv_norm(*spec.projection);
  if (spec.is_dynamic()) {
    block.masker_weight = tensor(spec.masker_name() + ".weight");
    block.masker_bias = tensor(spec.masker_name() + ".bias");
    if (standardise_maskers_) {
      block.masker_mean = tensor(masker_mean_name(spec));
      block.masker_variance = tensor(masker_variance_name(spec));
    }
  }
  return block;
}

bool MaskedNet::is_masker(const std::string& parameter) const {
  return std::ranges::any_of(spec_.blocks, [&](const BlockSpec& block) {
    return block.is_dynamic() && parameter.starts_with(block.masker_name() + ".");
  });
}

std::vector<torch::Tensor> MaskedNet::tensors() const {
  std::vector<torch::Tensor> all;
  for (const NamedTensor& item : state_) all.push_back(item.tensor);
  return all;
}

std::vector<std::string> MaskedNet::tensor_names() const {
  std::vector<std::string> names;
  for (const NamedTensor& item : state_) names.push_back(item.name);
  return names;
}

Weights MaskedNet::state() const {
  Weights state;
  for (const NamedTensor& item : state_) state[item.name] = from_torch(item.tensor);
  return state;
}

Weights MaskedNet::weights() const {
  torch::NoGradGuard no_gradient;
  Weights weights = state();
  for (const Block& block : blocks_) {
    if (!block.masker_mean.defined()) continue;
    const torch::Tensor scale = (block.masker_variance + kNormEpsilon).rsqrt();
    const torch::Tensor weight = block.masker_weight * scale.view({1, -1, 1, 1});
    const torch::Tensor moved = (weight * block.masker_mean.view({1, -1, 1, 1})).sum({1, 2, 3});
    weights[block.spec.masker_name() + ".weight"] = from_torch(weight);
    weights[block.spec.masker_name() + ".bias"] = from_torch(block.masker_bias - moved);
    weights.erase(masker_mean_name(block.spec));
    weights.erase(masker_variance_name(block.spec));
  }
  weights.erase(kWantedRates);
  return weights;
}

void MaskedNet::load(const Weights& state) {
  for (const NamedTensor& item : state_) {
    const auto found = state.find(item.name);
    if (found == state.end()) fail("network to train: tensor {} is missing", item.name);
    if (item.tensor.sizes() != torch::IntArrayRef(found->second.shape))
      fail("network to train: {}: expected shape {}, got {}", item.name, to_string(item.tensor.sizes().vec()),
           to_string(found->second.shape));
  }
  torch::NoGradGuard no_gradient;
  for (NamedTensor& item : state_) item.tensor.copy_(to_torch(state.at(item.name)));
}

MaskedNet::Block& MaskedNet::dynamic_block(size_t index) {
  for (Block& block : blocks_)
    if (block.spec.is_dynamic() && index-- == 0) return block;
  fail("the network has no such dynamic block");
}

void MaskedNet::set_masker(size_t block, const StandardisedMasker& masker) {
  torch::NoGradGuard no_gradient;
  Block& target = dynamic_block(block);
  target.masker_weight.copy_(masker.weight);
  target.masker_bias.copy_(masker.bias);
  target.masker_mean.copy_(masker.mean);
  target.masker_variance.copy_(masker.variance);
}

void MaskedNet::set_masker_statistics(size_t block, const torch::Tensor& seen_mean,
                                      const torch::Tensor& seen_variance) {
  torch::NoGradGuard no_gradient;
  const Block& target = dynamic_block(block);
  const torch::Tensor mean = seen_mean.to(device_), variance = seen_variance.to(device_);
  const torch::Tensor before = (target.masker_variance + kNormEpsilon).sqrt();
  const torch::Tensor after = (variance + kNormEpsilon).sqrt();
  const torch::Tensor moved = (mean - target.masker_mean) / before;
  const torch::Tensor bias =
      target.masker_bias + (target.masker_weight * moved.view({1, -1, 1, 1})).sum({1, 2, 3});
  const torch::Tensor weight = target.masker_weight * (after / before).view({1, -1, 1, 1});
  set_masker(block, {.weight = weight, .bias = bias, .mean = mean, .variance = variance});
}

std::vector<double> MaskedNet::wanted_rates() const {
  const Tensor rates = from_torch(wanted_rates_);
  return {rates.data.begin(), rates.data.end()};
}

void MaskedNet::set_wanted_rates(const std::vector<double>& rates) {
  torch::NoGradGuard no_gradient;
  wanted_rates_.copy_(torch::tensor(rates, torch::kFloat32));
}

void MaskedNet::shift_masker(size_t block, double difference) {
  torch::NoGradGuard no_gradient;
  torch::Tensor& bias = dynamic_block(block).masker_bias;
  bias[0] += difference / 2;
  bias[1] -= difference / 2;
}

std::vector<NormTensors*> MaskedNet::norms() {
  std::vector<NormTensors*> all = {&stem_.norm};
  for (Block& block : blocks_) {
    for (ConvNorm& layer : block.body) all.push_back(&layer.norm);
    if (block.projection) all.push_back(&block.projection->norm);
  }
  return all;
}

void MaskedNet::measure_norm_statistics() {
  for (NormTensors* norm : norms()) {
    norm->seen_mean = torch::zeros_like(norm->mean);
    norm->seen_variance = torch::ones_like(norm->variance);
  }
  measures_norms_ = true;
}

void MaskedNet::adopt_norm_statistics() {
  const torch::NoGradGuard no_gradient;
  for (NormTensors* norm : norms()) {
    const torch::Tensor scale = norm->gamma * (norm->variance + kNormEpsilon).rsqrt();
    norm->beta.add_(scale * (norm->seen_mean - norm->mean));
    norm->gamma.copy_(scale * (norm->seen_variance + kNormEpsilon).sqrt());
    norm->mean.copy_(norm->seen_mean);
    norm->variance.copy_(norm->seen_variance);
    norm->seen_mean.reset();
    norm->seen_variance.reset();
  }
  measures_norms_ = false;
}

BlockMasks MaskedNet::decide(const Block& block, const torch::Tensor& x, const MaskPolicy& policy,
                             bool training) const {
  const BlockSpec& spec = block.spec;
  BlockMasks masks;
  // Decisions are those of the deployed network, whatever the convolutions compute in.
  const AutocastScope fp32(/*enabled=*/false);
  // Standardising divides by the deviation of each channel. A gradient through channels that hardly move
  // would drown what the features learn from the losses.
  const torch::Tensor pooled_from = standardise_maskers_ ? x.detach() : x;
  masks.pooled = pool_under_patches(pooled_from, spec.granularity, spec.stride).to(torch::kFloat32);
  torch::Tensor seen = masks.pooled;
  if (block.masker_mean.defined())
    seen = batch_norm(seen,
                      {.gamma = {}, .beta = {}, .mean = block.masker_mean, .variance = block.masker_variance},
                      norm_policy(training));
  masks.logit_difference = patch_logit_difference(seen, block.masker_weight, block.masker_bias);
  MapSize map{ceil_div(x.size(2), spec.stride), ceil_div(x.size(3), spec.stride)};
  if (policy.forced != nullptr && policy.forced->contains(spec.name)) {
    masks.mask = forced_mask(policy.forced->at(spec.name), spec.name, x.size(0), map).to(device_);
    return masks;
  }
  const torch::Tensor& difference = masks.logit_difference;
  masks.perturbed = difference.detach();
  switch (policy.kind) {
    case MaskPolicy::Kind::sample: {
      const torch::Tensor noise = logistic_noise(difference.sizes(), policy.first,
                                                 std::max(policy.total, difference.size(0)), *policy.random)
                                      .to(difference.device()) *
                                  policy.noise_scale;
      masks.perturbed = masks.perturbed + noise;
      masks.patches = sample_patches(difference, noise, policy.temperature);
      break;
    }
    case MaskPolicy::Kind::full:
      masks.patches = torch::ones_like(difference.detach()).requires_grad_();
      break;
    default:
      masks.patches = decide_patches(difference);
  }
  masks.mask = expand_to_map(masks.patches, spec.granularity, map);
  return masks;
}

torch::Tensor MaskedNet::run_block(const Block& block, const torch::Tensor& x, const MaskPolicy& policy,
                                   bool training, MaskedOutput& output,
                                   std::vector<torch::Tensor>& dilated_rates) const {
  bool dynamic = block.spec.is_dynamic() && policy.kind != MaskPolicy::Kind::dense;
  BlockMasks masks;
  if (dynamic) masks = decide(block, x, policy, training);
  torch::Tensor body = x;
  MapSize middle_size;
  for (size_t i = 0; i < block.body.size(); ++i) {
    if (i == 2 && block.squeeze_excite) body = block.squeeze_excite->forward(body, masks.mask);
    body = block.body[i].forward(body, norm_policy(training));
    if (i == 0) middle_size = map_size(body);
    if (i + 1 < block.body.size()) body.relu_();
  }
  torch::Tensor identity = block.projection ? block.projection->forward(x, norm_policy(training)) : x;
  if (!dynamic) return body.add_(identity).relu_();

  {
    torch::AutoGradMode gradient(torch::GradMode::is_enabled() && policy.straight_through_dilation);
    torch::Tensor dilated = dilate(masks.mask, block.spec.convs[1].stride, middle_size);
    dilated_rates.push_back(dilated.mean({1, 2, 3}));
  }
  torch::Tensor y = torch::addcmul(identity, body, masks.mask.to(body.scalar_type())).relu_();
  output.blocks.push_back(std::move(masks));
  return y;
}

MaskedOutput MaskedNet::forward(const torch::Tensor& images, const MaskPolicy& policy, bool training) const {
  MaskedOutput output;
  std::vector<torch::Tensor> rates, dilated_rates;
  torch::Tensor x = stem_.forward(to_device(images, device_), norm_policy(training)).relu_();
  if (spec_.stem_pool) x = torch::max_pool2d(x, /*kernel_size=*/3, /*stride=*/2, /*padding=*/1);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x = run_block(blocks_[i], x, policy, training, output, dilated_rates);
    const bool last_of_stage = i + 1 == blocks_.size() || blocks_[i + 1].spec.stage != blocks_[i].spec.stage;
    if (last_of_stage) output.stages.push_back(x);
  }
  const AutocastScope fp32(/*enabled=*/false);
  output.features = x.to(torch::kFloat32).mean({2, 3});
  output.logits = torch::linear(output.features, head_weight_, head_bias_);
  if (output.blocks.empty()) return output;
  for (const BlockMasks& block : output.blocks) rates.push_back(block.mask.mean({1, 2, 3}));
  output.rates = torch::stack(rates, 1);
  output.dilated_rates = torch::stack(dilated_rates, 1);
  return output;
}

}  // namespace lasnet
