#include "train/train_data.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"
#include "base/math.h"
#include "base/memory.h"
#include "base/random.h"
#include "lasnet/model.h"
#include "train/augment.h"
#include "train/config.h"
#include "train/file_list.h"
#include "train/trivial_augment.h"

namespace lasnet {
namespace {

/// Of decoded images, where the system does not say what is free.
constexpr int64_t kDefaultCacheBytes = 2LL << 30;

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

  int64_t size() const { return end - begin; }
  /// With room for `more` images before those of the share.
  Batch open(int image_size, int64_t more = 0) const {
    Batch batch = empty_batch(size() + more, image_size);
    batch.first = first;
    batch.total = total;
    return batch;
  }
};

/// Bytes of decoded images that a process of several on a machine may hold.
int64_t cache_bytes(const TrainConfig& config, int local_size) {
  if (const auto given = parse_byte_count(config.cache_bytes)) return *given;
  const int64_t available = available_memory_bytes();
  return (available == INT64_MAX ? kDefaultCacheBytes : available / 2) / local_size;
}

std::vector<int64_t> shuffled(int64_t n, uint64_t seed, const std::string& purpose) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random(seed, purpose).shuffle(order);
  return order;
}

Preprocessing preprocessing_of(const TrainConfig& config) {
  Preprocessing preprocessing;
  // Weights go on seeing pixels as they were trained on.
  if (!config.init.empty())
    preprocessing = described_preprocessing(config.init, config.state_dict).value_or(preprocessing);
  if (!config.mean.empty()) preprocessing.mean = config.mean;
  if (!config.std.empty()) preprocessing.std = config.std;
  preprocessing.crop = config.size;
  preprocessing.resize = config.resize > 0 ? config.resize : config.size * 256 / 224;
  return preprocessing;
}

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

/// The batches of a shuffled epoch.
class TrainData::Epoch {
 public:
  Epoch(const TrainData& data, std::string key)
      : data_(data),
        key_(std::move(key)),
        order_(shuffled(data.train_images(), data.config_.seed, "order/" + key_)),
        mixes_(data.config_.mixup > 0 || data.config_.cutmix > 0) {}

  Batch open(int64_t step) const {
    const Places places = places_of(step);
    return places.open(data_.config_.size, mixes(places) ? 1 : 0);
  }

  void fill(int64_t step, int64_t image, Batch& batch) const {
    const Places places = places_of(step);
    const int64_t place = image - (mixes(places) ? 1 : 0);
    // Each image is mixed with the one before it in the whole batch, wherever that is trained on.
    const int64_t of_batch =
        place >= 0 ? places.first + place : (places.first + places.total - 1) % places.total;
    const int64_t item = order_[static_cast<size_t>(step * data_.config_.batch + of_batch)];
    data_.augment_into(batch, image, item, key_);
  }

  Batch close(int64_t step, Batch batch) const {
    if (!mixes(places_of(step))) return batch;
    const TrainConfig& config = data_.config_;
    Random random(config.seed, fmt::format("mix/{}/{}", key_, step));
    return mixed(batch, random_mixing(config.mixup, config.cutmix, config.size, config.size, random));
  }

 private:
  Places places_of(int64_t step) const {
    return {static_cast<int64_t>(order_.size()), data_.config_.batch, step, data_.share_};
  }
  bool mixes(const Places& places) const { return mixes_ && places.total > 1; }

  const TrainData& data_;
  std::string key_;
  std::vector<int64_t> order_;
  bool mixes_;
};

TrainData::TrainData(const TrainConfig& config, int threads,
                     const std::function<void(const std::string&)>& message, World& world)
    : config_(config),
      workers_(config.workers > 0 ? config.workers : threads),
      share_(world.share()),
      preprocessing_(preprocessing_of(config)),
      writer_(preprocessing_),
      message_(message) {
  DataSplit split = open_data(config.data, config.val_fraction, config.seed, workers_);
  classes_ = split.classes;
  files_ = list_files(split.root, split.files);
  message(fmt::format("{}: {} classes, {} training and {} validation images; decoding for {} px", config.data,
                      classes_.size(), split.train.size(), split.val.size(), config.size));
  if (!split.left_out.empty()) message(fmt::format("{}: {}", config.data, describe_left_out(split.left_out)));
  DecodeOptions decode{.max_pixels = config.max_pixels,
                       .strict = config.strict_images,
                       .on_warning = [notes = notes_.get()](const std::string& text) { notes->add(text); }};
  const int64_t cache = cache_bytes(config, world.local_size());
  // The share of each process in these is the same after every epoch.
  const int64_t val_images = ceil_div(static_cast<int64_t>(split.val.size()), int64_t{world.size()});
  const int64_t val_cache = std::min(cache / 4, val_images * 3 * config.size * config.size);
  auto prepare_val = [preprocessing = preprocessing_](const Image& image) {
    return resize_and_crop(image, preprocessing);
  };
  val_ = std::make_unique<ImageSource>(std::move(split.val), prepare_val, val_cache, config.skip_unreadable,
                                       decode);
  if (config.fast_decode) decode.min_side = training_side(config.size);
  auto prepare_train = [size = config.size](const Image& image) { return shrink_for_training(image, size); };
  train_ = std::make_unique<ImageSource>(std::move(split.train), prepare_train, cache - val_cache,
                                         config.skip_unreadable, decode);
  if (config.skip_unreadable) {
    leave_out_unreadable(*val_, world);
    leave_out_unreadable(*train_, world);
  }
  tell_notes();
  message(fmt::format("up to {:.1f} GB of decoded images are held in memory{}",
                      1e-9 * static_cast<double>(cache), world.size() > 1 ? " by each process" : ""));
}

void TrainData::leave_out_unreadable(ImageSource& source, World& world) const {
  const Share share = world.share();
  nlohmann::json mine = nlohmann::json::array();
  for (const auto& [index, why] :
       source.find_unreadable(share.begin(source.size()), share.end(source.size()), workers_))
    mine.push_back({index, why});
  ImageSource::Unreadable errors;
  for (const std::string& theirs : world.gather(to_text(mine)))
    for (const auto& error : nlohmann::json::parse(theirs))
      errors[error.at(0).get<int64_t>()] = error.at(1).get<std::string>();
  for (const auto& [index, why] : errors) message_("left out: " + why);
  source.leave_out(errors);
}

void TrainData::tell_notes() const {
  for (const std::string& note : notes_->take()) message_(note);
}

DecodeFigures TrainData::take_figures() const {
  const DecodeFigures train = train_->take_figures(), val = val_->take_figures();
  return {.images = train.images + val.images, .seconds = train.seconds + val.seconds};
}

int64_t TrainData::steps_per_epoch() const { return std::max<int64_t>(train_->size() / config_.batch, 1); }

int64_t TrainData::val_batches() const { return ceil_div(val_->size(), config_.batch); }

BatchStream TrainData::training(const std::string& stream, int epoch, int64_t first_step) const {
  tell_notes();
  const auto batches = std::make_shared<const Epoch>(*this, fmt::format("{}/{}", stream, epoch));
  return {
      {.open = [batches](int64_t step) { return batches->open(step); },
       .fill = [batches](int64_t step, int64_t image, Batch& batch) { batches->fill(step, image, batch); },
       .close = [batches](int64_t step, Batch batch) { return batches->close(step, std::move(batch)); }},
      first_step,
      steps_per_epoch(),
      workers_};
}

void TrainData::augment_into(Batch& batch, int64_t place, int64_t item, const std::string& key) const {
  Random random(config_.seed, fmt::format("augment/{}/{}", key, item));
  Image view = augment(*train_->image(item), config_.size, config_.crop_min_scale, config_.flip, random);
  if (config_.trivial_augment) trivially_augment(view, random);
  if (config_.colour_jitter > 0 || config_.colour_jitter_hue > 0)
    jitter_colours(view, config_.colour_jitter, config_.colour_jitter_hue, random);
  const bool erases = config_.random_erasing > 0 && random.uniform() < config_.random_erasing;
  const std::optional<CropBox> erased =
      erases ? random_erasing_box(config_.size, config_.size, random) : std::nullopt;
  writer_.write(view, train_->label(item), batch, place);
  if (erased) part_of(batch.images[place], *erased).zero_();
}

BatchStream TrainData::training_as_deployed(int64_t images, Share share) const {
  std::vector<int64_t> order = shuffled(train_->size(), config_.seed, "order/deployed");
  order.resize(static_cast<size_t>(std::min(images, train_->size())));
  return in_order(std::move(order), share, [this](Batch& batch, int64_t place, int64_t item) {
    writer_.write(resize_and_crop(*train_->image(item), preprocessing_), train_->label(item), batch, place);
  });
}

BatchStream TrainData::validation() const {
  std::vector<int64_t> order(static_cast<size_t>(val_->size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  return in_order(std::move(order), share_, [this](Batch& batch, int64_t place, int64_t item) {
    writer_.write(*val_->image(item), val_->label(item), batch, place);
  });
}

BatchStream TrainData::in_order(std::vector<int64_t> items, Share share, const Write& write) const {
  tell_notes();
  const auto order = std::make_shared<const std::vector<int64_t>>(std::move(items));
  const auto images = static_cast<int64_t>(order->size());
  const auto places_of = [this, images, share](int64_t index) {
    return Places(images, config_.batch, index, share);
  };
  return {{.open = [this, places_of](int64_t index) { return places_of(index).open(config_.size); },
           .fill =
               [order, places_of, write](int64_t index, int64_t image, Batch& batch) {
                 write(batch, image, (*order)[static_cast<size_t>(places_of(index).begin + image)]);
               }},
          0,
          ceil_div(images, int64_t{config_.batch}),
          workers_};
}

}  // namespace lasnet
