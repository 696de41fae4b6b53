#include "train/train_data.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"
#include "base/math.h"
#include "base/random.h"
#include "lasnet/model.h"
#include "train/augment.h"
#include "train/file_list.h"

namespace lasnet {
namespace {

constexpr int64_t kCacheBytes = 2LL << 30;

/// This process's places in the `index`-th batch of n things.
struct Places {
  int64_t begin = 0, end = 0;    ///< among all n
  int64_t first = 0, total = 0;  ///< of the batch

  Places(int64_t n, int64_t batch, int64_t index, Share share) {
    total = std::min(batch, n - index * batch);
    first = share.begin(total);
    begin = index * batch + first;
    end = index * batch + share.end(total);
  }

  /// As a part of the batch.
  Batch part(Batch batch) const {
    batch.first = first;
    batch.total = total;
    return batch;
  }
};

/// Of images [..., H, W].
torch::Tensor part_of(const torch::Tensor& images, const CropBox& box) {
  return images.narrow(-2, box.top, box.height).narrow(-1, box.left, box.width);
}

}  // namespace

Batch mixed(const Batch& batch, const Mixing& mixing) {
  const int64_t images = batch.size() - 1;
  Batch result = batch;
  const torch::Tensor own = batch.images.narrow(0, 1, images), other = batch.images.narrow(0, 0, images);
  if (mixing.box) {
    result.images = own.clone();
    part_of(result.images, *mixing.box).copy_(part_of(other, *mixing.box));
  } else {
    result.images = own * mixing.weight + other * (1 - mixing.weight);
  }
  result.labels = batch.labels.narrow(0, 1, images).clone();
  result.mixed_labels = batch.labels.narrow(0, 0, images).clone();
  result.own_weight = mixing.weight;
  return result;
}

TrainData::TrainData(const TrainConfig& config, int threads,
                     const std::function<void(const std::string&)>& message, Share share, int local_size)
    : config_(config), threads_(threads), share_(share), message_(message) {
  // Weights go on seeing pixels as they were trained on.
  if (!config.init.empty())
    preprocessing_ = described_preprocessing(config.init, config.state_dict).value_or(preprocessing_);
  if (!config.mean.empty()) preprocessing_.mean = config.mean;
  if (!config.std.empty()) preprocessing_.std = config.std;
  preprocessing_.crop = config.size;
  preprocessing_.resize = config.resize > 0 ? config.resize : config.size * 256 / 224;
  DataSplit split = open_data(config.data, config.val_fraction, config.seed);
  classes_ = split.classes;
  std::vector<ImageFolder::Item> all = split.train;
  all.insert(all.end(), split.val.begin(), split.val.end());
  files_ = list_files(config.data, all);
  message(fmt::format("{}: {} classes, {} training and {} validation images; decoding for {} px", config.data,
                      classes_.size(), split.train.size(), split.val.size(), config.size));
  if (!split.left_out.empty()) message(fmt::format("{}: {}", config.data, describe_left_out(split.left_out)));
  const DecodeOptions decode{
      .max_pixels = config.max_pixels,
      .strict = config.strict_images,
      .on_warning = [notes = notes_.get()](const std::string& text) { notes->add(text); }};
  auto prepare_val = [preprocessing = preprocessing_](const Image& image) {
    return resize_and_crop(image, preprocessing);
  };
  auto prepare_train = [size = config.size](const Image& image) { return shrink_for_training(image, size); };
  const int64_t cache = kCacheBytes / local_size, val_cache = cache / 4;
  val_ = std::make_unique<ImageSource>(std::move(split.val), prepare_val, val_cache, threads,
                                       config.skip_unreadable, decode);
  train_ = std::make_unique<ImageSource>(std::move(split.train), prepare_train, cache - val_cache, threads,
                                         config.skip_unreadable, decode);
  for (const ImageSource* source : {val_.get(), train_.get()}) {
    for (const std::string& error : source->unreadable()) message("left out: " + error);
  }
  tell_notes();
  message(fmt::format("{} of {} training images are held in memory", train_->cached(), train_->size()));
}

void TrainData::tell_notes() const {
  for (const std::string& note : notes_->take()) message_(note);
}

int64_t TrainData::steps_per_epoch() const { return std::max<int64_t>(train_->size() / config_.batch, 1); }

int64_t TrainData::val_batches() const { return ceil_div(val_->size(), config_.batch); }

BatchStream TrainData::training(const std::string& stream, int epoch, int64_t first_step) const {
  tell_notes();
  std::string key = fmt::format("{}/{}", stream, epoch);
  std::vector<int64_t> order(static_cast<size_t>(train_->size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random(config_.seed, "order/" + key).shuffle(order);
  auto make = [this, order = std::move(order), key](int64_t step) {
    return training_batch(order, key, step);
  };
  return {make, first_step, steps_per_epoch(), threads_ + 1};
}

BatchStream TrainData::validation() const {
  tell_notes();
  return {[this](int64_t index) { return validation_batch(index); }, 0, val_batches(), threads_ + 1};
}

Batch TrainData::training_batch(const std::vector<int64_t>& order, const std::string& key,
                                int64_t step) const {
  const Places places(static_cast<int64_t>(order.size()), config_.batch, step, share_);
  const bool mixes = (config_.mixup > 0 || config_.cutmix > 0) && places.total > 1;
  // Each image is mixed with the one before it in the whole batch, wherever that is trained on.
  std::vector<int64_t> items;
  if (mixes) {
    const int64_t before = (places.first + places.total - 1) % places.total;
    items.push_back(order[static_cast<size_t>(step * config_.batch + before)]);
  }
  for (int64_t i = places.begin; i < places.end; ++i) items.push_back(order[static_cast<size_t>(i)]);
  Batch batch = augmented(items, key);
  if (mixes) {
    Random random(config_.seed, fmt::format("mix/{}/{}", key, step));
    batch = mixed(batch, random_mixing(config_.mixup, config_.cutmix, config_.size, config_.size, random));
  }
  return places.part(batch);
}

Batch TrainData::augmented(const std::vector<int64_t>& items, const std::string& key) const {
  std::vector<Image> images;
  std::vector<int> labels;
  std::vector<std::optional<CropBox>> erased;
  Image scratch;
  for (const int64_t item : items) {
    Random random(config_.seed, fmt::format("augment/{}/{}", key, item));
    const Image& source = train_->image(item, scratch);
    images.push_back(augment(source, config_.size, config_.crop_min_scale, config_.flip, random));
    if (config_.colour_jitter > 0) jitter_colours(images.back(), config_.colour_jitter, 0, random);
    const bool erases = config_.random_erasing > 0 && random.uniform() < config_.random_erasing;
    erased.push_back(erases ? random_erasing_box(config_.size, config_.size, random) : std::nullopt);
    labels.push_back(train_->label(item));
  }
  Batch batch = make_batch(images, labels, preprocessing_);
  for (size_t i = 0; i < erased.size(); ++i)
    if (erased[i]) part_of(batch.images[static_cast<int64_t>(i)], *erased[i]).zero_();
  return batch;
}

BatchStream TrainData::training_as_deployed(int64_t images, Share share) const {
  tell_notes();
  std::vector<int64_t> order(static_cast<size_t>(train_->size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random(config_.seed, "order/deployed").shuffle(order);
  order.resize(static_cast<size_t>(std::min(images, train_->size())));
  const int64_t batches = ceil_div(static_cast<int64_t>(order.size()), config_.batch);
  auto make = [this, order = std::move(order), share](int64_t index) {
    return deployed_batch(order, index, share);
  };
  return {make, 0, batches, threads_ + 1};
}

Batch TrainData::deployed_batch(const std::vector<int64_t>& order, int64_t index, Share share) const {
  const Places places(static_cast<int64_t>(order.size()), config_.batch, index, share);
  std::vector<Image> images;
  std::vector<int> labels;
  Image scratch;
  for (int64_t i = places.begin; i < places.end; ++i) {
    const int64_t item = order[static_cast<size_t>(i)];
    images.push_back(resize_and_crop(train_->image(item, scratch), preprocessing_));
    labels.push_back(train_->label(item));
  }
  return places.part(make_batch(images, labels, preprocessing_));
}

Batch TrainData::validation_batch(int64_t index) const {
  const Places places(val_->size(), config_.batch, index, share_);
  std::vector<Image> images;
  std::vector<int> labels;
  Image scratch;
  for (int64_t i = places.begin; i < places.end; ++i) {
    images.push_back(val_->image(i, scratch));
    labels.push_back(val_->label(i));
  }
  return places.part(make_batch(images, labels, preprocessing_));
}

}  // namespace lasnet
