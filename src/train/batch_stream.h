// Batches made ahead of the training step by background threads, in order.
#pragma once

#include <torch/types.h>

#include <deque>
#include <functional>
#include <future>
#include <optional>
#include <span>

#include "lasnet/image.h"
#include "lasnet/model.h"

namespace lasnet {

/// A process's share of a batch.
struct Batch {
  torch::Tensor images;  ///< float32 [N, 3, H, W], normalised, channels-last
  torch::Tensor labels;  ///< int64 [N]
  /// Labels of the images that are mixed in, as make_batch makes none; undefined: none are. They weigh
  /// 1 - own_weight in the loss.
  torch::Tensor mixed_labels = {};
  double own_weight = 1;
  int64_t first = 0;  ///< image of the whole batch
  int64_t total = 0;  ///< images of the whole batch

  int64_t size() const { return labels.size(0); }
  /// Its part of the whole batch's images.
  double weight() const { return static_cast<double>(size()) / static_cast<double>(total); }
};

/// Stacks images of one size; values are those of to_input(). A whole batch.
Batch make_batch(std::span<const Image> images, std::span<const int> labels,
                 const Preprocessing& preprocessing);

/// Calls make(index) for index in [begin, end) on up to `ahead` threads and yields the results in order.
/// `make` must be thread safe and depend on its index alone, which makes the stream independent of timing.
class BatchStream {
 public:
  BatchStream(std::function<Batch(int64_t)> make, int64_t begin, int64_t end, int ahead);

  /// Rethrows what make() threw; nothing at the end.
  std::optional<Batch> next();

 private:
  void start_one();

  std::function<Batch(int64_t)> make_;
  int64_t next_index_, end_;
  std::deque<std::future<Batch>> pending_;  ///< their destructors wait
};

}  // namespace lasnet
