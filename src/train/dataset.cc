#include "train/dataset.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <future>
#include <utility>

#include "base/fail.h"
#include "base/names.h"
#include "base/random.h"
#include "train/config.h"

namespace lasnet {
namespace {

namespace fs = std::filesystem;

bool folder_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// Moves a random `fraction` of each class, at least one image, from split.train to split.val.
void hold_out(DataSplit& split, double fraction, uint64_t seed) {
  std::vector<std::vector<ImageFolder::Item>> by_class(split.classes.size());
  for (ImageFolder::Item& item : split.train)
    by_class[static_cast<size_t>(item.label)].push_back(std::move(item));
  split.train.clear();
  for (size_t label = 0; label < by_class.size(); ++label) {
    std::vector<ImageFolder::Item>& items = by_class[label];
    if (items.size() < 2) {
      fail(
          "class '{}' has one image, which cannot be split into training and validation; add images or a val "
          "folder",
          split.classes[label]);
    }
    Random(seed, "split/" + split.classes[label]).shuffle(items);
    auto held = static_cast<size_t>(std::lround(fraction * static_cast<double>(items.size())));
    held = std::clamp<size_t>(held, 1, items.size() - 1);
    auto boundary = items.begin() + static_cast<std::ptrdiff_t>(held);
    split.val.insert(split.val.end(), items.begin(), boundary);
    split.train.insert(split.train.end(), boundary, items.end());
  }
}

}  // namespace

DataSplit open_data(const std::string& dir, double val_fraction, uint64_t seed) {
  fs::path train = fs::path(dir) / "train";
  std::string val = validation_folder(dir);
  bool has_parts = folder_exists(train);
  if (!has_parts && !val.empty()) fail("{}: there is no train folder beside it", val);
  ImageFolder folder = open_image_folder(has_parts ? train.string() : dir);
  DataSplit split{
      .classes = folder.classes, .train = std::move(folder.items), .val = {}, .left_out = folder.left_out};
  if (!has_parts || val.empty()) {
    hold_out(split, val_fraction, seed);
    return split;
  }
  ImageFolder held = open_image_folder(val);
  if (held.classes != split.classes) {
    fail("{}: train and val must have the same class folders; only train has: {}; only val has: {}", dir,
         some_of(missing_from(split.classes, held.classes)),
         some_of(missing_from(held.classes, split.classes)));
  }
  split.val = std::move(held.items);
  for (const auto& [kind, count] : held.left_out) split.left_out[kind] += count;
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

ImageSource::ImageSource(std::vector<ImageFolder::Item> items, Prepare prepare, int64_t cache_bytes,
                         int threads, bool skip_unreadable, DecodeOptions decode)
    : items_(std::move(items)),
      prepare_(std::move(prepare)),
      skip_unreadable_(skip_unreadable),
      decode_(std::move(decode)),
      cache_(items_.size()) {
  std::atomic<size_t> next = 0;
  std::atomic<int64_t> used = 0;
  std::vector<std::string> errors(items_.size());
  auto work = [&] {
    for (size_t i = next++; i < items_.size() && (used < cache_bytes || skip_unreadable_); i = next++) {
      try {
        Image image = read(i);
        if (used >= cache_bytes) continue;
        used += static_cast<int64_t>(image.rgb.size());
        cache_[i] = std::move(image);
      } catch (const Error& error) {
        if (!skip_unreadable_) throw;
        errors[i] = error.what();
      }
    }
  };
  std::vector<std::future<void>> workers;
  for (int i = 0; i < threads; ++i) workers.push_back(std::async(std::launch::async, work));
  for (std::future<void>& worker : workers) worker.wait();
  for (std::future<void>& worker : workers) worker.get();
  leave_out(errors);
}

/// `errors`: of each item, empty where it was read.
void ImageSource::leave_out(const std::vector<std::string>& errors) {
  size_t kept = 0;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (!errors[i].empty()) {
      unreadable_.push_back(errors[i]);
      continue;
    }
    if (kept != i) {
      items_[kept] = std::move(items_[i]);
      cache_[kept] = std::move(cache_[i]);
    }
    ++kept;
  }
  items_.resize(kept);
  cache_.resize(kept);
  if (items_.empty() && !unreadable_.empty())
    fail("none of {} images can be read: {}", unreadable_.size(), unreadable_.front());
}

int64_t ImageSource::cached() const {
  return std::ranges::count_if(cache_, [](const Image& image) { return !image.empty(); });
}

const Image& ImageSource::image(int64_t index, Image& scratch) const {
  auto i = static_cast<size_t>(index);
  if (!cache_[i].empty()) return cache_[i];
  scratch = read(i);
  return scratch;
}

Image ImageSource::read(size_t index) const try {
  return prepare_(load_image(items_[index].path, decode_));
} catch (const Error& error) {
  if (skip_unreadable_) throw;
  fail("{}; {} leaves such images out", error.what(), setting_name("skip_unreadable"));
}

}  // namespace lasnet
