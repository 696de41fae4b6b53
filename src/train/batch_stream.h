// Batches made ahead of the training step by background threads, image by image and in order.
#pragma once

#include <torch/types.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>

#include "lasnet/image.h"
#include "lasnet/model.h"

namespace lasnet {

/// A process's share of a batch.
struct Batch {
  torch::Tensor images;  ///< float32 [N, 3, H, W], normalised, channels-last
  torch::Tensor labels;  ///< int64 [N]
  /// Labels of the images that are mixed in; undefined: none are. They weigh 1 - own_weight in the loss.
  torch::Tensor mixed_labels = {};
  double own_weight = 1;
  int64_t first = 0;  ///< image of the whole batch
  int64_t total = 0;  ///< images of the whole batch

  int64_t size() const { return labels.size(0); }
  /// Its part of the whole batch's images.
  double weight() const { return static_cast<double>(size()) / static_cast<double>(total); }
};

/// Room for so many images of a size: a whole batch.
Batch empty_batch(int64_t images, int size);

/// Writes images into batches, with the values of to_input().
class BatchWriter {
 public:
  explicit BatchWriter(const Preprocessing& preprocessing);
  /// Throws Error if the image is of another size. From any thread, each for images of its own.
  void write(const Image& image, int label, Batch& batch, int64_t index) const;

 private:
  std::array<std::array<float, 256>, 3> values_;  ///< of each channel's bytes
};

/// How a batch is made. All functions must be thread safe and depend on their indices alone, which makes a
/// stream independent of timing.
struct BatchRecipe {
  /// Batch `index`, with room for its images.
  std::function<Batch(int64_t index)> open;
  /// Makes image `image` of the batch; null: it has all images.
  std::function<void(int64_t index, int64_t image, Batch& batch)> fill = nullptr;
  /// What becomes of the batch when all its images are made; null: it stays.
  std::function<Batch(int64_t index, Batch batch)> close = nullptr;
};

/// Makes batches [begin, end) on `workers` threads and yields them in order. Each thread makes one image at a
/// time, of any batch: none waits for another's. So many batches are begun that no thread waits for the
/// reader too early.
class BatchStream {
 public:
  BatchStream(BatchRecipe recipe, int64_t begin, int64_t end, int workers);
  BatchStream(BatchStream&&) noexcept;
  ~BatchStream();

  /// Rethrows what the recipe threw for this batch; nothing at the end.
  std::optional<Batch> next();

 private:
  class Workers;
  std::unique_ptr<Workers> workers_;
};

}  // namespace lasnet
