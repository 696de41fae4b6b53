#include "train/phase.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/fail.h"
#include "train/autocast.h"
#include "train/budget_control.h"
#include "train/config.h"
#include "train/device.h"

namespace lasnet {
namespace {

using Clock = std::chrono::steady_clock;

/// Weight of the newest step in the smoothed rate.
constexpr double kRateSmoothing = 0.1;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Of the names of the weights' average, among those of the optimiser.
constexpr std::string_view kAveragePrefix = "average/";

/// An image's share of a training step that evaluating it takes.
constexpr double kEvaluationShare = 1.0 / 3;

double squared_norm(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.square().sum().item<double>() : 0;
}

}  // namespace

double training_images(const TrainData& data, int batch, double epochs) {
  const auto trained =
      static_cast<double>(data.steps_per_epoch() * std::min<int64_t>(batch, data.train_images()));
  return epochs * (trained + kEvaluationShare * static_cast<double>(data.val_images()));
}

Phase::Phase(const TrainConfig& config, PhaseSettings settings, const Budget& budget, const TrainData& data,
             MaskedNet& net, const MaskedNet* teacher, World& world, const TrainObserver& observer)
    : config_(config),
      settings_(std::move(settings)),
      data_(data),
      net_(net),
      teacher_(distils(config) ? teacher : nullptr),
      world_(world),
      observer_(observer),
      budget_(budget),
      cost_(budget.cost),
      account_(NetworkCost::macs(net.spec(), {config.size, config.size}), net.device()),
      optimizer_(make_optimizer(config.optimizer, net,
                                {.momentum = config.momentum,
                                 .weight_decay = settings_.weight_decay,
                                 .masker_lr_multiplier = config.masker_lr_multiplier})),
      gradients_(world, net.parameters()),
      steps_per_epoch_(data.steps_per_epoch()),
      steps_(steps_per_epoch_ * settings_.epochs),
      images_per_s_(settings_.images_per_s) {
  if (config.sync_bn) net_.set_norm_world(&world);
  if (config.ema > 0) average_ = std::make_unique<WeightAverage>(net, config.ema);
}

void Phase::set_momentum(const Weights& momentum) {
  Weights of_optimizer, of_average;
  for (const auto& [name, tensor] : momentum) {
    if (name.starts_with(kAveragePrefix)) {
      of_average[name.substr(kAveragePrefix.size())] = tensor;
    } else {
      of_optimizer[name] = tensor;
    }
  }
  optimizer_->set_state(of_optimizer);
  if (average_) average_->set_state(of_average);
}

Weights Phase::momentum() const {
  Weights all = optimizer_->state();
  if (!average_) return all;
  for (auto& [name, tensor] : average_->state()) all[std::string(kAveragePrefix) + name] = tensor;
  return all;
}

bool Phase::run(RunState& state, const std::function<void()>& step_done,
                const std::function<void()>& epoch_done) {
  if (state.epoch < settings_.epochs) report_step(state, settings_.name, state.step, steps_per_epoch_);
  while (state.epoch < settings_.epochs) {
    if (!train_epoch(state, step_done)) return false;
    world_.broadcast(net_.tensors());  // the running statistics are each process's own
    if (average_) world_.broadcast(average_->tensors());
    {
      const AveragedScope averaged(average_.get());
      if (!renew_statistics() || !evaluate_epoch(state)) return false;
    }
    state.epoch += 1;
    state.step = 0;
    state.sums = {};
    epoch_done();
  }
  if (average_) average_->swap();
  return true;
}

NetworkCost Phase::cost_at(const RunState& state) const {
  if (!settings_.dynamic) return budget_.cost;
  for (auto info = state.history.rbegin(); info != state.history.rend(); ++info)
    if (info->phase == settings_.name) return budget_.cost.settled_at(info->validation.rates);
  if (net_.standardises_maskers()) return budget_.cost.settled_at(net_.wanted_rates());
  return budget_.cost.settled_at(std::vector<double>(budget_.cost.blocks().size(), 1));
}

bool Phase::train_epoch(RunState& state, const std::function<void()>& step_done) {
  cost_ = cost_at(state);
  BatchStream batches = data_.training(settings_.data_stream, state.epoch, state.step);
  while (state.step < steps_per_epoch_) {
    if (should_stop()) return false;
    auto start = Clock::now();
    const Batch batch = on_device(*batches.next());
    state.sums.from.wait_seconds += seconds_since(start);
    train_step(batch, state.epoch * steps_per_epoch_ + state.step, state.sums);
    double seconds = seconds_since(start);
    double rate = static_cast<double>(batch.total) / seconds;
    images_per_s_ = images_per_s_ == 0 ? rate : images_per_s_ + kRateSmoothing * (rate - images_per_s_);
    state.sums.seconds += seconds;
    const DecodeFigures decoded = data_.take_figures();
    state.sums.from.decoded += decoded.images;
    state.sums.from.decode_seconds += decoded.seconds;
    state.step += 1;
    report_step(state, settings_.name, state.step, steps_per_epoch_);
    step_done();
  }
  return true;
}

void Phase::train_step(const Batch& batch, int64_t global_step, EpochSums& sums) {
  Random random(config_.seed, fmt::format("gumbel/{}", global_step));
  const MaskedOutput output = forward(net_, batch, policy(batch, global_step, random), /*training=*/true);
  const Loss loss = this->loss(batch, output, global_step);
  const StepFigures figures = figures_of(batch, output, loss);
  if (!std::isfinite(figures.losses.sum())) {
    fail("{}: the loss is not finite at step {}; lower {}", settings_.name, global_step,
         learning_rate_setting());
  }
  gradients_.begin();
  (loss.images + loss.budget).backward();
  gradients_.finish();
  if (config_.clip_norm > 0) clip_gradients(net_.parameters(), config_.clip_norm);
  optimizer_->step(learning_rate(global_step));
  if (settings_.dynamic && config_.hold_budget) hold_rates(net_, decisions(batch, output), ramp(global_step));
  if (average_) average_->update();
  const auto images = static_cast<double>(batch.total);
  sums.loss += figures.losses.sum() * images;
  sums.losses.add(figures.losses, images);
  sums.images += batch.total;
  sums.correct += figures.correct;
  last_macs_ratio_ = figures.macs_ratio;
  sums.macs_ratio += last_macs_ratio_ * images;
}

Phase::StepFigures Phase::figures_of(const Batch& batch, const MaskedOutput& output, const Loss& loss) const {
  const torch::NoGradGuard no_gradient;
  const double distillation = loss.distillation.item<double>() * batch.weight();
  const double features = loss.features.item<double>() * batch.weight();
  torch::Tensor sums =
      torch::tensor({loss.images.item<double>() - distillation - features, distillation, features,
                     account_.network_ratios(output).mean().item<double>() * batch.weight(),
                     output.logits.argmax(1).eq(batch.labels).sum().item<double>()},
                    torch::kFloat64);
  world_.sum(sums);
  return {.losses = {.classification = sums[0].item<double>(),
                     .distillation = sums[1].item<double>(),
                     .features = sums[2].item<double>(),
                     .budget = loss.budget.item<double>()},
          .macs_ratio = sums[3].item<double>(),
          .correct = std::llround(sums[4].item<double>())};
}

std::vector<torch::Tensor> Phase::decisions(const Batch& batch, const MaskedOutput& output) const {
  std::vector<torch::Tensor> rows;
  std::vector<int64_t> patches;
  for (const BlockMasks& masks : output.blocks) {
    rows.push_back(masks.perturbed.flatten(1));
    patches.push_back(rows.back().size(1));
  }
  return world_.gather_rows(torch::cat(rows, 1).to(torch::kCPU), batch.first, batch.total)
      .split_with_sizes(patches, 1);
}

MaskedOutput Phase::forward(const MaskedNet& net, const Batch& batch, const MaskPolicy& policy,
                            bool training) const {
  const AutocastScope precision(config_.precision == TrainPrecision::bf16);
  return net.forward(batch.images, policy, training);
}

Batch Phase::on_device(Batch batch) const {
  batch.images = to_device(batch.images, net_.device());
  batch.labels = to_device(batch.labels, net_.device());
  if (batch.mixed_labels.defined()) batch.mixed_labels = to_device(batch.mixed_labels, net_.device());
  return batch;
}

StepProbe Phase::probe(const Batch& images) {
  const Batch batch = on_device(images);
  Random random(config_.seed, "probe");
  const auto sampled = [&] { return forward(net_, batch, policy(batch, 0, random), /*training=*/true); };
  StepProbe result;
  if (settings_.dynamic) {
    budget_loss(batch, sampled(), 0).backward();
    result.masker_gain = masker_gain();
  }
  // The first pass makes what later ones reuse, and is the slower one.
  for (int pass = 0; pass < 2; ++pass) {
    const auto start = Clock::now();
    const Loss total = loss(batch, sampled(), 0);
    (total.images + total.budget).backward();
    const double rate = static_cast<double>(batch.size()) / std::max(seconds_since(start), 1e-9);
    result.images_per_s = std::max(result.images_per_s, rate);
  }
  result.images_per_s = world_.sum(result.images_per_s);
  return result;
}

/// A step against the gradient moves the logits of patches of features x by 1 + |x|^2 times what it moves the
/// bias, and the gradient of the weights is x times that of the bias.
double Phase::masker_gain() const {
  double weights = 0, biases = 0;
  for (const NamedTensor& parameter : net_.parameters()) {
    if (!net_.is_masker(parameter.name)) continue;
    (parameter.name.ends_with(".bias") ? biases : weights) += squared_norm(parameter.tensor.grad());
  }
  return biases > 0 ? 1 + weights / biases : 1;
}

Phase::Loss Phase::loss(const Batch& batch, const MaskedOutput& output, int64_t global_step) const {
  torch::Tensor images = classification_loss(output.logits, batch.labels, config_.label_smoothing);
  if (batch.mixed_labels.defined()) {
    images = images * batch.own_weight +
             classification_loss(output.logits, batch.mixed_labels, config_.label_smoothing) *
                 (1 - batch.own_weight);
  }
  torch::Tensor distillation = torch::zeros({}, net_.device()), features = distillation;
  if (teacher_ != nullptr) {
    torch::NoGradGuard no_gradient;
    const MaskedOutput taught =
        forward(*teacher_, batch, {.kind = MaskPolicy::Kind::dense}, /*training=*/false);
    torch::Tensor squares;
    if (config_.alpha_features > 0) squares = world_.batch_mean(mean_squares(taught.stages), batch.weight());
    torch::AutoGradMode gradient(true);
    distillation =
        config_.alpha_distill * distillation_loss(output.logits, taught.logits, config_.temperature_distill);
    if (config_.alpha_features > 0)
      features = config_.alpha_features * feature_loss(output.stages, taught.stages, squares);
    images = images + distillation + features;
  }
  return {
      .images = images * batch.weight(),
      .budget = settings_.dynamic ? budget_loss(batch, output, global_step) : torch::zeros({}, net_.device()),
      .distillation = distillation.detach(),
      .features = features.detach()};
}

torch::Tensor Phase::budget_loss(const Batch& batch, const MaskedOutput& output, int64_t global_step) const {
  const double target = target_at(global_step);
  const MaskShares masks(output);
  const MaskShares together(world_.batch_mean(masks.means().detach(), batch.weight()));
  const CostAccount account(cost_, together.rates(), net_.device());
  const torch::Tensor ratios = world_.batch_mean(
      torch::cat({account.network_ratios(masks).mean().unsqueeze(0), account.block_ratios(masks)}),
      batch.weight());
  const Bounds bounds =
      ratio_bounds(target, config_.target_ramp > 0 ? 1 : progress(global_step), config_.bounds_hold);
  return config_.lambda_flops * (flops_loss(ratios.narrow(0, 0, 1), target) +
                                 bounds_loss(ratios.narrow(0, 1, ratios.size(0) - 1), bounds));
}

MaskPolicy Phase::policy(const Batch& batch, int64_t global_step, Random& random) const {
  if (!settings_.dynamic) return {.kind = MaskPolicy::Kind::dense};
  return {.kind = MaskPolicy::Kind::sample,
          .temperature = gumbel_temperature(global_step),
          .noise_scale = noise_scale(config_.noise_start, config_.noise_end, progress(global_step)),
          .random = &random,
          .first = batch.first,
          .total = batch.total,
          .straight_through_dilation = config_.straight_through_dilation};
}

/// The last batches alone, as the running statistics have them, are few; and masks move meanwhile.
bool Phase::renew_statistics() {
  if (config_.norm_images == 0) return true;
  torch::NoGradGuard no_gradient;
  const MaskPolicy masks{.kind = settings_.dynamic ? MaskPolicy::Kind::decide : MaskPolicy::Kind::dense};
  // Over the images of all processes, whatever training takes.
  if (world_.size() > 1) net_.set_norm_world(&world_);
  BatchStream batches = data_.training_as_deployed(config_.norm_images, world_.share());
  for (int64_t index = 0;; ++index) {
    std::optional<Batch> batch = batches.next();
    // A batch that is smaller than the others has other statistics.
    if (!batch || (index > 0 && batch->total < config_.batch)) break;
    if (should_stop()) return false;
    net_.set_norm_momentum(1.0 / static_cast<double>(index + 1));
    forward(net_, *batch, masks, /*training=*/true);
  }
  net_.set_norm_momentum(kNormMomentum);
  net_.set_norm_world(config_.sync_bn ? &world_ : nullptr);
  return true;
}

bool Phase::evaluate_epoch(RunState& state) {
  auto proceed = [&](int64_t index) {
    if (should_stop()) return false;
    report_step(state, "evaluate", index + 1, data_.val_batches());
    return true;
  };
  std::optional<EvaluationDetail> detail = evaluate(net_, budget_.cost, data_, world_, proceed);
  if (!detail) return false;
  int64_t last_step = (state.epoch + 1) * steps_per_epoch_ - 1;
  auto images = static_cast<double>(state.sums.images);
  ConstantMasks constant = constant_masks(detail->masks, progress(last_step + 1));
  EpochInfo info{.phase = settings_.name,
                 .epoch = state.epoch + 1,
                 .epochs = settings_.epochs,
                 .train_loss = state.sums.loss / images,
                 .train_top1 = static_cast<double>(state.sums.correct) / images,
                 .lr = learning_rate(last_step),
                 .gumbel_temperature = settings_.dynamic ? gumbel_temperature(last_step) : 0,
                 .seconds = state.sums.seconds,
                 .train_macs_ratio = state.sums.macs_ratio / images,
                 .train_losses = {},
                 .images_per_s = state.sums.seconds > 0 ? images / state.sums.seconds : 0,
                 .images = state.sums.from,
                 .validation = detail->figures,
                 .empty_blocks = constant.empty,
                 .full_blocks = constant.full,
                 .warnings = {}};
  info.train_losses.add(state.sums.losses, 1 / images);
  auto diverged = divergence_warning(info.validation.loss, data_.classes().size(), learning_rate_setting());
  if (diverged) info.warnings.push_back(*diverged);
  state.results[settings_.name] = detail->figures;
  state.history.push_back(info);
  if (observer_.on_epoch) observer_.on_epoch(info);
  return true;
}

double Phase::progress(int64_t global_step) const {
  return static_cast<double>(global_step) / static_cast<double>(steps_);
}

double Phase::ramp(int64_t global_step) const {
  return config_.target_ramp > 0 ? std::min(progress(global_step) / config_.target_ramp, 1.0) : 1;
}

double Phase::target_at(int64_t global_step) const { return 1 - (1 - budget_.target) * ramp(global_step); }

double Phase::learning_rate(int64_t global_step) const {
  auto warmup = static_cast<int64_t>(settings_.warmup * static_cast<double>(steps_));
  return cosine_lr(settings_.lr, global_step, steps_, warmup);
}

std::string Phase::learning_rate_setting() const {
  return setting_name(settings_.name == kPretrain ? "pretrain_lr" : "lr");
}

double Phase::gumbel_temperature(int64_t global_step) const {
  return exponential_decay(config_.gumbel_start, config_.gumbel_end, global_step, steps_);
}

bool Phase::should_stop() const { return world_.any(observer_.should_stop && observer_.should_stop()); }

void Phase::report_step(const RunState& state, const std::string& phase, int64_t step, int64_t steps) const {
  if (!observer_.on_step) return;
  const bool evaluates = phase != settings_.name;
  const double done = evaluates ? 1 : static_cast<double>(step) / static_cast<double>(steps);
  const double images =
      training_images(data_, config_.batch, settings_.epochs - state.epoch - done) + settings_.images_after;
  observer_.on_step(
      {.phase = phase,
       .epoch = state.epoch + 1,
       .epochs = settings_.epochs,
       .step = step,
       .steps = steps,
       .loss = state.sums.images > 0 ? state.sums.loss / static_cast<double>(state.sums.images) : 0,
       .macs_ratio = last_macs_ratio_,
       .images_per_s = images_per_s_,
       .seconds_left = images_per_s_ > 0 ? images / images_per_s_ : 0});
}

}  // namespace lasnet
