#include "train/batch_stream.h"

#include <array>

#include "base/fail.h"

namespace lasnet {
namespace {

/// Normalised value of each byte per channel.
using ByteTable = std::array<std::array<float, 256>, 3>;

ByteTable normalisation_table(const Preprocessing& preprocessing) {
  ByteTable table;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t value = 0; value < 256; ++value) {
      table[channel][value] =
          (static_cast<float>(value) / 255.0f - preprocessing.mean[channel]) / preprocessing.std[channel];
    }
  }
  return table;
}

}  // namespace

Batch make_batch(std::span<const Image> images, std::span<const int> labels,
                 const Preprocessing& preprocessing) {
  auto n = static_cast<int64_t>(images.size());
  if (n == 0) return {.images = torch::empty({0, 3, 0, 0}), .labels = torch::empty({0}, torch::kInt64)};
  const Image& first = images.front();
  ByteTable table = normalisation_table(preprocessing);
  torch::Tensor pixels = torch::empty({n, first.height, first.width, 3}, torch::kFloat32);
  torch::Tensor classes = torch::empty({n}, torch::kInt64);
  float* out = pixels.data_ptr<float>();
  for (size_t i = 0; i < images.size(); ++i) {
    const Image& image = images[i];
    if (image.width != first.width || image.height != first.height) {
      fail("batch: images of {}x{} and {}x{} px cannot be stacked", first.width, first.height, image.width,
           image.height);
    }
    for (size_t p = 0; p < image.rgb.size(); ++p) *out++ = table[p % 3][image.rgb[p]];
    classes.data_ptr<int64_t>()[i] = labels[i];
  }
  // Interleaved pixels are the channels-last layout; only the dimensions are renamed.
  return {.images = pixels.permute({0, 3, 1, 2}), .labels = classes, .first = 0, .total = n};
}

BatchStream::BatchStream(std::function<Batch(int64_t)> make, int64_t begin, int64_t end, int ahead)
    : make_(std::move(make)), next_index_(begin), end_(end) {
  for (int i = 0; i < ahead; ++i) start_one();
}

void BatchStream::start_one() {
  if (next_index_ >= end_) return;
  pending_.push_back(std::async(std::launch::async, make_, next_index_++));
}

std::optional<Batch> BatchStream::next() {
  if (pending_.empty()) return std::nullopt;
  Batch batch = pending_.front().get();
  pending_.pop_front();
  start_one();
  return batch;
}

}  // namespace lasnet
