#include "bench_inputs.h"

namespace lasnet::cli {

namespace {

/// At most `count` of them, evenly spread.
std::vector<std::string> spread(std::vector<std::string> files, size_t count) {
  if (files.size() <= count) return files;
  std::vector<std::string> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(std::move(files[i * files.size() / count]));
  return chosen;
}

}  // namespace

BenchInputs::BenchInputs(const std::string& images, const Preprocessing& preprocessing, MapSize size,
                         int64_t batch, int64_t batches, uint64_t seed, DecodeOptions decode)
    : preprocessing_(preprocessing),
      size_(size),
      batch_(batch),
      random_(seed, "inputs"),
      decode_(std::move(decode)) {
  if (images.empty()) return;
  files_ = list_images(images);
  found_ = files_.size();
  files_ = spread(std::move(files_), static_cast<size_t>(batch * batches));
}

Tensor BenchInputs::next() {
  if (files_.empty()) {
    Tensor input({batch_, 3, size_.height, size_.width});
    for (float& value : input.data) value = static_cast<float>(random_.uniform(-2, 2));
    return input;
  }
  std::vector<Tensor> inputs;
  for (int64_t n = 0; n < batch_; ++n) {
    const Image image = load_image(files_[next_file_], decode_);
    inputs.push_back(to_input(resize_and_crop(image, preprocessing_), preprocessing_));
    next_file_ = (next_file_ + 1) % files_.size();
  }
  return stack(inputs);
}

}  // namespace lasnet::cli
