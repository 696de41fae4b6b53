#include "bench_inputs.h"

namespace lasnet::cli {

BenchInputs::BenchInputs(const std::string& images, const Preprocessing& preprocessing, MapSize size,
                         int64_t batch, uint64_t seed, DecodeOptions decode)
    : files_(images.empty() ? std::vector<std::string>{} : list_images(images)),
      preprocessing_(preprocessing),
      size_(size),
      batch_(batch),
      random_(seed, "inputs"),
      decode_(std::move(decode)) {}

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
