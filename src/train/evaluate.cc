#include "train/evaluate.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "base/chance.h"
#include "base/fail.h"
#include "base/statistics.h"
#include "lasnet/engine.h"
#include "train/config.h"
#include "train/losses.h"
#include "train/torch_tensor.h"

namespace lasnet {
namespace {

constexpr double kCollapsedRate = 0.01;
constexpr double kSaturatedRate = 0.99;
constexpr double kConstantStd = 0.01;
constexpr int kDivergedOverGuessing = 100;

/// How many labels are among the k largest logits.
int64_t hits(const torch::Tensor& logits, const torch::Tensor& labels, int64_t k) {
  torch::Tensor best = std::get<1>(logits.topk(std::min(k, logits.size(1)), 1));
  return best.eq(labels.unsqueeze(1)).sum().item<int64_t>();
}

/// Accumulates batches.
struct Totals {
  double loss = 0;
  int64_t images = 0, top1 = 0, top5 = 0;
  std::vector<double> ratios;              ///< of each image
  std::vector<std::vector<double>> rates;  ///< of each dynamic block and image

  void add(const Result& result, const Batch& batch) {
    const torch::Tensor logits = to_torch(result.logits);
    images += batch.size();
    top1 += hits(logits, batch.labels, 1);
    top5 += hits(logits, batch.labels, 5);
    loss += classification_loss(logits, batch.labels, 0).item<double>() * static_cast<double>(batch.size());
    for (double macs : result.trace.image_macs)
      ratios.push_back(macs / static_cast<double>(result.trace.static_macs));
    size_t dynamic = 0;
    for (const BlockTrace& block : result.trace.blocks) {
      if (block.granularity == 0) continue;
      if (rates.size() == dynamic) rates.emplace_back();
      rates[dynamic].insert(rates[dynamic].end(), block.rates.begin(), block.rates.end());
      ++dynamic;
    }
  }
};

Evaluation figures_of(const Totals& totals) {
  auto n = static_cast<double>(totals.images);
  Evaluation figures;
  figures.top1 = static_cast<double>(totals.top1) / n;
  figures.top5 = static_cast<double>(totals.top5) / n;
  figures.loss = totals.loss / n;
  figures.macs_ratio = mean(totals.ratios);
  figures.macs_ratio_std = deviation(totals.ratios);
  figures.images = totals.images;
  return figures;
}

}  // namespace

std::optional<EvaluationDetail> evaluate(const MaskedNet& net, const TrainData& data,
                                         const std::function<bool(int64_t)>& proceed) {
  torch::NoGradGuard no_gradient;
  const Model model{.spec = net.spec(), .weights = net.weights(), .class_names = {}, .preprocessing = {}};
  Session deployed(model, {.threads = at::get_num_threads()});
  Totals totals;
  BatchStream batches = data.validation();
  for (int64_t index = 0;; ++index) {
    std::optional<Batch> batch = batches.next();
    if (!batch) break;
    if (!proceed(index)) return std::nullopt;
    const Tensor images = from_torch(batch->images);
    totals.add(deployed.run(images, {.record_masks = false}), *batch);
  }
  EvaluationDetail detail{.figures = figures_of(totals), .masks = {}};
  for (const BlockSpec& block : net.spec().blocks) {
    if (block.is_dynamic()) detail.masks.blocks.push_back(block.name);
  }
  for (const std::vector<double>& rates : totals.rates) {
    detail.masks.mean.push_back(mean(rates));
    detail.masks.std.push_back(deviation(rates));
  }
  detail.figures.rates = detail.masks.mean;
  return detail;
}

ConstantMasks constant_masks(const MaskStatistics& masks, double progress) {
  ConstantMasks constant;
  for (size_t i = 0; i < masks.blocks.size(); ++i) {
    if (masks.std[i] > kConstantStd) continue;
    if (masks.mean[i] < kCollapsedRate) constant.empty.push_back(masks.blocks[i]);
    if (masks.mean[i] > kSaturatedRate && progress > 1.0 / 3) constant.full.push_back(masks.blocks[i]);
  }
  return constant;
}

std::string chance_warning(const Evaluation& evaluation, size_t classes, const Preprocessing& preprocessing) {
  if (!is_guessing(evaluation.top1, evaluation.images, static_cast<int64_t>(classes), /*deviations=*/3))
    return {};
  return fmt::format(
      "the static network's top-1 of {:.1f} % on {} images cannot be told from guessing ({:.1f} %): do the "
      "class "
      "folders stand in the order that it was trained on, and does it expect other inputs than mean {:g} and "
      "standard "
      "deviation {:g} ({} and {}: imagenet, raw, inception or numbers)?",
      100 * evaluation.top1, evaluation.images, 100 / static_cast<double>(classes),
      fmt::join(preprocessing.mean, ","), fmt::join(preprocessing.std, ","), setting_name("mean"),
      setting_name("std"));
}

std::optional<std::string> divergence_warning(double loss, size_t classes, const std::string& learning_rate) {
  if (loss < kDivergedOverGuessing * std::log(static_cast<double>(classes))) return std::nullopt;
  return fmt::format(
      "diverged: the validation loss is over {} times that of guessing; what is written is of no use unless "
      "it falls again: lower {}",
      kDivergedOverGuessing, learning_rate);
}

}  // namespace lasnet
