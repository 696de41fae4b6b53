// The images of a training run: where each of them is, and what is held of them in memory.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/first_time.h"
#include "lasnet/image.h"
#include "train/train.h"

namespace lasnet {

/// An image file, or an image among the bytes of a shard.
struct Sample {
  std::string path;                                    ///< of the file, or of the member in its shard
  int label = 0;                                       ///< index of its class
  std::shared_ptr<const std::string> shard = nullptr;  ///< its path; null: a file of its own
  uint64_t offset = 0, size = 0;                       ///< in the shard

  /// As messages name it.
  std::string name() const;
};

/// Labelled images of both parts, over the same classes.
struct DataSplit {
  std::vector<std::string> classes;
  std::vector<Sample> train, val;
  LeftOut left_out;                ///< files of both parts that are not read
  std::vector<std::string> files;  ///< paths of the images, or of the shards
  std::string root;                ///< folder that the files are in
};

/// Opens `data`, an image folder or shards: its train and val (or valid). Without val, or when it holds the
/// classes themselves, `val_fraction` of every class is held out by `seed`. Shards are read by so many
/// threads. Throws Error on bad data, a class of one image that would have to be split, or parts with
/// different classes.
DataSplit open_data(const std::string& data, double val_fraction, uint64_t seed, int threads = 1);

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

/// What was decoded.
struct DecodeFigures {
  int64_t images = 0;
  double seconds = 0;  ///< of processor time, all threads together
};

/// Random access to prepared images, from any thread. An image is decoded when it is asked for. It is then
/// held until it is no more, as long as there is room: what is returned does not depend on that.
class ImageSource {
 public:
  using Prepare = std::function<Image(const Image&)>;
  /// Why images cannot be read, by index.
  using Unreadable = std::map<int64_t, std::string>;

  /// `cache_bytes` are for pixels. With `skips_unreadable`, errors do not advise to skip.
  ImageSource(std::vector<Sample> samples, Prepare prepare, int64_t cache_bytes,
              bool skips_unreadable = false, DecodeOptions decode = {});

  int64_t size() const { return static_cast<int64_t>(samples_.size()); }
  int label(int64_t index) const { return samples_[static_cast<size_t>(index)].label; }
  /// Throws Error on an unreadable image, naming it.
  std::shared_ptr<const Image> image(int64_t index) const;

  /// Reads images [begin, end) on `threads` threads. What there is room for is held.
  Unreadable find_unreadable(int64_t begin, int64_t end, int threads) const;
  /// Leaves these images out. Throws Error if no other is there.
  void leave_out(const Unreadable& errors);

  /// Images that are held.
  int64_t cached() const;
  /// Since the last call.
  DecodeFigures take_figures() const;

 private:
  Image read(size_t index) const;
  void hold(size_t index, const std::shared_ptr<const Image>& image) const;

  std::vector<Sample> samples_;
  Prepare prepare_;
  int64_t cache_bytes_;
  bool skips_unreadable_;
  DecodeOptions decode_;

  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const Image>> cache_;  ///< null where not held
  mutable int64_t used_bytes_ = 0;
  mutable std::atomic<int64_t> decoded_ = 0, decode_ns_ = 0;
};

}  // namespace lasnet
