#include "train/dataset.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <future>
#include <utility>

#include "base/fail.h"
#include "base/file.h"
#include "base/names.h"
#include "base/random.h"
#include "formats/printable.h"
#include "train/config.h"
#include "train/shards.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxFileBytes = 1ULL << 30;

bool folder_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// Moves a random `fraction` of each class, at least one image, from split.train to split.val.
void hold_out(DataSplit& split, double fraction, uint64_t seed) {
  std::vector<std::vector<Sample>> by_class(split.classes.size());
  for (Sample& sample : split.train) by_class[static_cast<size_t>(sample.label)].push_back(std::move(sample));
  split.train.clear();
  for (size_t label = 0; label < by_class.size(); ++label) {
    std::vector<Sample>& samples = by_class[label];
    if (samples.size() < 2) {
      fail(
          "class '{}' has one image, which cannot be split into training and validation; add images or a val "
          "folder",
          split.classes[label]);
    }
    Random(seed, "split/" + split.classes[label]).shuffle(samples);
    auto held = static_cast<size_t>(std::lround(fraction * static_cast<double>(samples.size())));
    held = std::clamp<size_t>(held, 1, samples.size() - 1);
    auto boundary = samples.begin() + static_cast<std::ptrdiff_t>(held);
    split.val.insert(split.val.end(), samples.begin(), boundary);
    split.train.insert(split.train.end(), boundary, samples.end());
  }
}

std::vector<Sample> samples_of(const ImageFolder& folder) {
  std::vector<Sample> samples;
  for (const ImageFolder::Item& item : folder.items)
    samples.push_back({.path = item.path, .label = item.label});
  return samples;
}

DataSplit open_folders(const std::string& dir) {
  const fs::path train = fs::path(dir) / "train";
  const std::string val = validation_folder(dir);
  const bool has_parts = folder_exists(train);
  if (!has_parts && !val.empty()) fail("{}: there is no train folder beside it", val);
  const ImageFolder folder = open_image_folder(has_parts ? train.string() : dir);
  DataSplit split{.classes = folder.classes,
                  .train = samples_of(folder),
                  .val = {},
                  .left_out = folder.left_out,
                  .files = {},
                  .root = dir};
  if (has_parts && !val.empty()) {
    const ImageFolder held = open_image_folder(val);
    if (held.classes != split.classes) {
      fail("{}: train and val must have the same class folders; only train has: {}; only val has: {}", dir,
           some_of(missing_from(split.classes, held.classes)),
           some_of(missing_from(held.classes, split.classes)));
    }
    split.val = samples_of(held);
    for (const auto& [kind, count] : held.left_out) split.left_out[kind] += count;
  }
  for (const std::vector<Sample>* part : {&split.train, &split.val})
    for (const Sample& sample : *part) split.files.push_back(sample.path);
  return split;
}

/// Processor time of this thread.
int64_t thread_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Image decode(const Sample& sample, const DecodeOptions& options) {
  if (!sample.shard) return load_image(sample.path, options);
  if (sample.size > kMaxFileBytes)
    fail("{}: {} bytes, expected at most {}", sample.name(), sample.size, kMaxFileBytes);
  // Opened each time: there can be more shards than a process may have open.
  const std::vector<uint8_t> bytes = ByteSource::open(*sample.shard).read(sample.offset, sample.size);
  return decode_image(bytes.data(), bytes.size(), sample.name(), options);
}

}  // namespace

std::string Sample::name() const { return shard ? *shard + ": " + printable(path) : path; }

DataSplit open_data(const std::string& data, double val_fraction, uint64_t seed, int threads) {
  const std::optional<ShardPaths> shards = find_shards(data);
  DataSplit split = shards ? open_shards(*shards, threads) : open_folders(data);
  if (split.val.empty()) hold_out(split, val_fraction, seed);
  return split;
}

void ReadingNotes::add(const std::string& text) {
  if (!is_new_(text)) return;
  const std::lock_guard lock(mutex_);
  waiting_.push_back(text);
}

std::vector<std::string> ReadingNotes::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

ImageSource::ImageSource(std::vector<Sample> samples, Prepare prepare, int64_t cache_bytes,
                         bool skips_unreadable, DecodeOptions decode)
    : samples_(std::move(samples)),
      prepare_(std::move(prepare)),
      cache_bytes_(cache_bytes),
      skips_unreadable_(skips_unreadable),
      decode_(std::move(decode)),
      cache_(samples_.size()) {}

std::shared_ptr<const Image> ImageSource::image(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  {
    const std::lock_guard lock(mutex_);
    if (cache_[i]) return cache_[i];
  }
  const int64_t start = thread_ns();
  auto image = std::make_shared<const Image>(read(i));
  decode_ns_ += thread_ns() - start;
  ++decoded_;
  hold(i, image);
  return image;
}

void ImageSource::hold(size_t index, const std::shared_ptr<const Image>& image) const {
  const auto bytes = static_cast<int64_t>(image->rgb.size());
  const std::lock_guard lock(mutex_);
  if (cache_[index] || used_bytes_ + bytes > cache_bytes_) return;
  cache_[index] = image;
  used_bytes_ += bytes;
}

ImageSource::Unreadable ImageSource::find_unreadable(int64_t begin, int64_t end, int threads) const {
  std::atomic<int64_t> next = begin;
  std::mutex mutex;
  Unreadable errors;
  const auto work = [&] {
    for (int64_t i = next++; i < end; i = next++) {
      try {
        (void)image(i);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        errors[i] = error.what();
      }
    }
  };
  std::vector<std::future<void>> workers;
  for (int i = 0; i < threads; ++i) workers.push_back(std::async(std::launch::async, work));
  for (std::future<void>& worker : workers) worker.wait();
  for (std::future<void>& worker : workers) worker.get();
  return errors;
}

void ImageSource::leave_out(const Unreadable& errors) {
  if (errors.empty()) return;
  size_t kept = 0;
  for (size_t i = 0; i < samples_.size(); ++i) {
    if (errors.contains(static_cast<int64_t>(i))) continue;
    if (kept != i) {
      samples_[kept] = std::move(samples_[i]);
      cache_[kept] = std::move(cache_[i]);
    }
    ++kept;
  }
  samples_.resize(kept);
  cache_.resize(kept);
  if (samples_.empty()) fail("none of {} images can be read: {}", errors.size(), errors.begin()->second);
}

int64_t ImageSource::cached() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::count_if(cache_, [](const auto& image) { return image != nullptr; });
}

DecodeFigures ImageSource::take_figures() const {
  return {.images = decoded_.exchange(0), .seconds = 1e-9 * static_cast<double>(decode_ns_.exchange(0))};
}

Image ImageSource::read(size_t index) const try {
  return prepare_(decode(samples_[index], decode_));
} catch (const Error& error) {
  if (skips_unreadable_) throw;
  fail("{}; {} leaves such images out", error.what(), setting_name("skip_unreadable"));
}

}  // namespace lasnet
