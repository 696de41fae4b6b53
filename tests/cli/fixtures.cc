#include "fixtures.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/random.h"

namespace lasnet::test {

namespace fs = std::filesystem;

std::vector<std::string> TemporaryFolder::entries(const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(path(name))) {
    names.push_back(fs::relative(entry.path(), path(name)).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Model tiny_model(const std::vector<int>& granularity) {
  Model model;
  model.spec = make_spec({.name = "resnet18",
                          .width = 0.125,
                          .classes = 2,
                          .stem = StemKind::small,
                          .granularity = granularity});
  model.weights = random_weights(model.spec, 1);
  init_maskers(model.spec, 2, 0.0f, model.weights);
  model.class_names = {"disc", "stripes"};
  model.preprocessing.resize = 56;
  model.preprocessing.crop = 48;
  return model;
}

Image tiny_photo(int label, uint64_t seed, int size) {
  Random random(seed, label == 0 ? "disc" : "stripes");
  Image image{size, size, std::vector<uint8_t>(static_cast<size_t>(size) * size * 3)};
  const double radius = size * random.uniform(0.2, 0.4), centre = size * random.uniform(0.4, 0.6);
  const auto period = static_cast<int>(4 + random.below(5));
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const bool inside = label == 0 ? std::hypot(x - centre, y - centre) < radius : y / period % 2 == 0;
      for (int c = 0; c < 3; ++c) {
        const double value = (inside ? 200 : 60) + 30 * random.uniform();
        image.rgb[static_cast<size_t>((y * size + x) * 3 + c)] = static_cast<uint8_t>(value);
      }
    }
  }
  return image;
}

void write_image_folder(const std::string& dir, int train_images, int val_images) {
  for (const auto& [part, count] : {std::pair{"train", train_images}, std::pair{"val", val_images}}) {
    for (const int label : {0, 1}) {
      const fs::path folder = fs::path(dir) / part / (label == 0 ? "disc" : "stripes");
      fs::create_directories(folder);
      for (int i = 0; i < count; ++i) {
        const uint64_t seed = static_cast<uint64_t>(i) + (part == std::string("val") ? 1000 : 0);
        save_png(tiny_photo(label, seed), (folder / (std::to_string(i) + ".png")).string());
      }
    }
  }
}

std::string ProgramTest::save_tiny_model() const {
  const std::string path = folder_.path("model.safetensors");
  save_model(tiny_model(), path);
  return path;
}

std::string ProgramTest::save_photo(const std::string& name, int label) const {
  const std::string path = folder_.path(name);
  fs::create_directories(fs::path(path).parent_path());
  save_png(tiny_photo(label, 7), path);
  return path;
}

}  // namespace lasnet::test
