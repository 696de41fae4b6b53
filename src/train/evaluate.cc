#include "train/evaluate.h"

#include <cmath>

#include "core/chance.h"
#include "core/fail.h"
#include "train/config.h"

namespace lasnet {
namespace {

constexpr double kCollapsedRate = 0.01;
constexpr double kSaturatedRate = 0.99;
constexpr double kConstantStd = 0.01;
constexpr int kDivergedOverGuessing = 100;

std::vector<double> to_vector(const torch::Tensor& tensor) {
  torch::Tensor values = tensor.to(torch::kFloat64).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

/// How many labels are among the k largest logits.
int64_t hits(const torch::Tensor& logits, const torch::Tensor& labels, int64_t k) {
  torch::Tensor best = std::get<1>(logits.topk(std::min(k, logits.size(1)), 1));
  return best.eq(labels.unsqueeze(1)).sum().item<int64_t>();
}

/// Accumulates batches.
struct Totals {
  double loss = 0;
  int64_t images = 0, top1 = 0, top5 = 0;
  std::vector<torch::Tensor> ratios, rates;

  void add(const MaskedOutput& output, const Batch& batch, const MacAccount& account) {
    images += batch.size();
    top1 += hits(output.logits, batch.labels, 1);
    top5 += hits(output.logits, batch.labels, 5);
    loss += classification_loss(output.logits, batch.labels, 0).item<double>() *
            static_cast<double>(batch.size());
    ratios.push_back(account.network_ratios(output));
    if (output.rates.defined()) rates.push_back(output.rates);
  }
};

Evaluation figures_of(const Totals& totals) {
  auto n = static_cast<double>(totals.images);
  torch::Tensor ratios = torch::cat(totals.ratios).to(torch::kFloat64);
  Evaluation figures;
  figures.top1 = static_cast<double>(totals.top1) / n;
  figures.top5 = static_cast<double>(totals.top5) / n;
  figures.loss = totals.loss / n;
  figures.macs_ratio = ratios.mean().item<double>();
  figures.macs_ratio_std = ratios.std(/*unbiased=*/false).item<double>();
  figures.images = totals.images;
  return figures;
}

}  // namespace

std::optional<EvaluationDetail> evaluate(const MaskedNet& net, const TrainData& data,
                                         const std::function<bool(int64_t)>& proceed) {
  torch::NoGradGuard no_gradient;
  int side = data.preprocessing().crop;
  MacAccount account(net.spec(), {side, side});
  MaskPolicy policy{.kind = MaskPolicy::Kind::decide};
  Totals totals;
  BatchStream batches = data.validation();
  for (int64_t index = 0;; ++index) {
    std::optional<Batch> batch = batches.next();
    if (!batch) break;
    if (!proceed(index)) return std::nullopt;
    totals.add(net.forward(batch->images, policy, /*training=*/false), *batch, account);
  }
  EvaluationDetail detail{.figures = figures_of(totals), .masks = {}};
  for (const BlockSpec& block : net.spec().blocks) {
    if (block.is_dynamic()) detail.masks.blocks.push_back(block.name);
  }
  if (!totals.rates.empty()) {
    torch::Tensor rates = torch::cat(totals.rates).to(torch::kFloat64);
    detail.masks.mean = to_vector(rates.mean(0));
    detail.masks.std = to_vector(rates.std(0, /*unbiased=*/false));
    detail.figures.rates = detail.masks.mean;
  }
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
      fmt::join(preprocessing.mean, ","), fmt::join(preprocessing.std, ","), option_name("mean"),
      option_name("std"));
}

std::optional<std::string> divergence_warning(double loss, size_t classes, const std::string& learning_rate) {
  if (loss < kDivergedOverGuessing * std::log(static_cast<double>(classes))) return std::nullopt;
  return fmt::format(
      "diverged: the validation loss is over {} times that of guessing; what is written is of no use unless "
      "it falls again: lower {}",
      kDivergedOverGuessing, learning_rate);
}

}  // namespace lasnet
