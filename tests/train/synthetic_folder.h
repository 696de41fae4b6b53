// A small image folder that is easy to learn: noise with one bright square whose colour is the class.
#pragma once

#include <filesystem>
#include <string>

#include "base/random.h"
#include "lasnet/image.h"

namespace lasnet::test {

class SyntheticFolder {
 public:
  explicit SyntheticFolder(const std::string& name)
      : root_(std::filesystem::path(::testing::TempDir()) /
              ("lasnet_" + name + "_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~SyntheticFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  SyntheticFolder(const SyntheticFolder&) = delete;
  SyntheticFolder& operator=(const SyntheticFolder&) = delete;

  std::string path(const std::string& below = "") const { return (root_ / below).string(); }

  /// `count` images of 40 x 40 px into <root>/<part>/<class>.
  void add(const std::string& part, const std::string& class_name, int channel, int count) {
    std::filesystem::path folder = root_ / part / class_name;
    std::filesystem::create_directories(folder);
    for (int i = 0; i < count; ++i) {
      Random random(static_cast<uint64_t>(i), part + class_name);
      save_png(picture(channel, random), (folder / (std::to_string(i) + ".png")).string());
    }
  }

  /// Two classes in train and val.
  void add_two_classes(int train, int val) {
    for (const char* part : {"train", "val"}) {
      int count = std::string(part) == "train" ? train : val;
      add(part, "red", 0, count);
      add(part, "blue", 2, count);
    }
  }

 private:
  static Image picture(int channel, Random& random) {
    constexpr int kSide = 40, kSquare = 16;
    Image image{.width = kSide, .height = kSide, .rgb = std::vector<uint8_t>(3 * kSide * kSide)};
    for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.below(60));
    int top = static_cast<int>(random.below(kSide - kSquare)),
        left = static_cast<int>(random.below(kSide - kSquare));
    for (int y = top; y < top + kSquare; ++y) {
      for (int x = left; x < left + kSquare; ++x)
        image.rgb[static_cast<size_t>(3 * (y * kSide + x) + channel)] = 250;
    }
    return image;
  }

  std::filesystem::path root_;
};

}  // namespace lasnet::test
