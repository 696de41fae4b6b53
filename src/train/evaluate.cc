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

/// Whether each image's label is among the k largest logits.
torch::Tensor hits(const torch::Tensor& logits, const torch::Tensor& labels, int64_t k) {
  const torch::Tensor best = std::get<1>(logits.topk(std::min(k, logits.size(1)), 1));
  return best.eq(labels.unsqueeze(1)).any(1).to(torch::kFloat64);
}

/// What is known of each image, one row each: the columns below, then the rate of each dynamic block.
class ImageTable {
 public:
  enum Column : int64_t { kTop1, kTop5, kLoss, kRatio, kRates };

  ImageTable(int64_t images, const ModelSpec& spec) {
    const auto blocks = std::ranges::count_if(spec.blocks, &BlockSpec::is_dynamic);
    values_ = torch::zeros({images, kRates + blocks}, torch::kFloat64);
  }

  /// `first` is the row of the batch's first image.
  void set(const Result& result, const Batch& batch, int64_t first) {
    torch::Tensor rows = values_.narrow(0, first, batch.size());
    const torch::Tensor logits = to_torch(result.logits);
    rows.select(1, kTop1).copy_(hits(logits, batch.labels, 1));
    rows.select(1, kTop5).copy_(hits(logits, batch.labels, 5));
    rows.select(1, kLoss).copy_(
        torch::cross_entropy_loss(logits, batch.labels, /*weight=*/{}, at::Reduction::None));
    for (size_t i = 0; i < result.trace.image_macs.size(); ++i)
      rows[static_cast<int64_t>(i)][kRatio] =
          result.trace.image_macs[i] / static_cast<double>(result.trace.static_macs);
    int64_t column = kRates;
    for (const BlockTrace& block : result.trace.blocks) {
      if (block.granularity == 0) continue;
      for (size_t i = 0; i < block.rates.size(); ++i)
        rows[static_cast<int64_t>(i)][column] = static_cast<double>(block.rates[i]);
      ++column;
    }
  }

  /// Puts the rows of all processes together.
  void complete(World& world) { world.sum(values_); }

  int64_t images() const { return values_.size(0); }
  int64_t blocks() const { return values_.size(1) - kRates; }
  std::vector<double> column(int64_t index) const {
    const torch::Tensor column = values_.select(1, index).contiguous();
    return {column.data_ptr<double>(), column.data_ptr<double>() + column.numel()};
  }

 private:
  torch::Tensor values_;
};

Evaluation figures_of(const ImageTable& table) {
  Evaluation figures;
  figures.top1 = mean(table.column(ImageTable::kTop1));
  figures.top5 = mean(table.column(ImageTable::kTop5));
  figures.loss = mean(table.column(ImageTable::kLoss));
  figures.macs_ratio = mean(table.column(ImageTable::kRatio));
  figures.macs_ratio_std = deviation(table.column(ImageTable::kRatio));
  figures.images = table.images();
  return figures;
}

}  // namespace

std::optional<EvaluationDetail> evaluate(const MaskedNet& net, const NetworkCost& cost, const TrainData& data,
                                         World& world, const std::function<bool(int64_t)>& proceed) {
  torch::NoGradGuard no_gradient;
  const Model model{.spec = net.spec(), .weights = net.weights(), .class_names = {}, .preprocessing = {}};
  Session deployed(model, {.threads = at::get_num_threads()});
  ImageTable table(data.val_images(), net.spec());
  BatchStream batches = data.validation();
  int64_t begun = 0;
  for (int64_t index = 0;; ++index) {
    std::optional<Batch> batch = batches.next();
    if (!batch) break;
    if (!proceed(index)) return std::nullopt;
    if (batch->size() > 0)
      table.set(deployed.run(from_torch(batch->images), {.record_masks = false}), *batch,
                begun + batch->first);
    begun += batch->total;
  }
  table.complete(world);
  EvaluationDetail detail{.figures = figures_of(table), .masks = {}};
  for (const BlockSpec& block : net.spec().blocks) {
    if (block.is_dynamic()) detail.masks.blocks.push_back(block.name);
  }
  for (int64_t block = 0; block < table.blocks(); ++block) {
    const std::vector<double> rates = table.column(ImageTable::kRates + block);
    detail.masks.mean.push_back(mean(rates));
    detail.masks.std.push_back(deviation(rates));
  }
  detail.figures.rates = detail.masks.mean;
  detail.figures.predicted_ms = cost.milliseconds(detail.figures.rates);
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
