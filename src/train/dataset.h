// The images of a training run: which file belongs to which part, decoded once when memory allows.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "base/first_time.h"
#include "lasnet/image.h"
#include "train/train.h"

namespace lasnet {

/// Labelled files of both parts, over the same classes.
struct DataSplit {
  std::vector<std::string> classes;
  std::vector<ImageFolder::Item> train, val;
  LeftOut left_out;  ///< files of both parts that are not read
};

/// Opens `dir`/train and `dir`/val (or valid); without val, or when `dir` holds the classes themselves,
/// `val_fraction` of every class is held out by `seed`. Throws Error on a bad folder, a class of one image
/// that would have to be split, or parts with different classes.
DataSplit open_data(const std::string& dir, double val_fraction, uint64_t seed);

/// What is said of images while they are read, from any thread: each text once.
class ReadingNotes {
 public:
  void add(const std::string& text);
  /// The texts since the last call.
  std::vector<std::string> take();

 private:
  FirstTime is_new_;
  std::mutex mutex_;
  std::vector<std::string> waiting_;
};

/// Random access to prepared images, from any thread.
class ImageSource {
 public:
  using Prepare = std::function<Image(const Image&)>;

  /// Decodes and prepares images, on `threads` threads, until `cache_bytes` of pixels are held. The rest are
  /// read again at every access. Throws Error on an unreadable image, naming it. With `skip_unreadable` all
  /// are decoded and unreadable ones are left out. Then it is an Error only if no other is there.
  ImageSource(std::vector<ImageFolder::Item> items, Prepare prepare, int64_t cache_bytes, int threads,
              bool skip_unreadable = false, DecodeOptions decode = {});

  int64_t size() const { return static_cast<int64_t>(items_.size()); }
  int label(int64_t index) const { return items_[static_cast<size_t>(index)].label; }
  int64_t cached() const;
  /// Why images were left out, one sentence each.
  const std::vector<std::string>& unreadable() const { return unreadable_; }
  /// The prepared image: the cached one, or `scratch` after reading it.
  const Image& image(int64_t index, Image& scratch) const;

 private:
  Image read(size_t index) const;
  void leave_out(const std::vector<std::string>& errors);

  std::vector<ImageFolder::Item> items_;
  Prepare prepare_;
  bool skip_unreadable_;
  DecodeOptions decode_;
  std::vector<Image> cache_;  ///< empty where not held
  std::vector<std::string> unreadable_;
};

}  // namespace lasnet
