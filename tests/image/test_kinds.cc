// Small images of every kind against what Pillow reads from them (scripts/make_image_fixtures.py), and
// against lasnet's own rule where that differs on purpose (docs/images.md).
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "image/codec.h"
#include "support/expect_error.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(LASNET_TEST_DATA) / "kinds";

/// The kinds in the table of docs/images.md.
const std::set<std::string> kDifferOnPurpose = {
    "cmyk_without_adobe.jpg", "grey16.png",       "grey16_interlaced.png",
    "grey8_transparent.png",  "grey_alpha16.png", "grey_alpha8.png",
    "lossless_alpha.webp",    "lossy_alpha.webp", "palette8_transparent.png",
    "rgb8_transparent.png",   "rgba16.png",       "rgba8.png",
    "rgba8_interlaced.png"};

std::vector<std::string> kinds() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path expected_file(const char* by, std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return kFolder / by / (name + ".png");
}

int largest_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int largest = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

/// PNG is exact, but 16 bits per colour, of which Pillow takes the upper 8. JPEG and WebP differ between
/// versions of their libraries.
int tolerance(const std::string& name) {
  if (!name.ends_with(".png")) return 2;
  return name.starts_with("rgb16") ? 1 : 0;
}

TEST(Kinds, AreReadAsPillowReadsThemOrByTheRule) {
  std::set<std::string> by_rule;
  const std::vector<std::string> names = kinds();
  EXPECT_EQ(names.size(), 65u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Image image = load_image((kFolder / name).string());
    const Image pillow = load_image(expected_file("pillow", name).string());
    const fs::path rule = expected_file("by_rule", name);
    if (!fs::exists(rule)) {
      EXPECT_LE(largest_difference(image, pillow), tolerance(name));
      continue;
    }
    by_rule.insert(name);
    EXPECT_LE(largest_difference(image, load_image(rule.string())), tolerance(name));
    EXPECT_GT(largest_difference(image, pillow), 2) << "no difference; leave it out of docs/images.md";
  }
  EXPECT_EQ(by_rule, kDifferOnPurpose);
}

TEST(Kinds, OnlyTheDamagedOnesAreWarnedOf) {
  std::set<std::string> warned;
  for (const std::string& name : kinds()) {
    DecodeOptions options;
    options.on_warning = [&](const std::string&) { warned.insert(name); };
    load_image((kFolder / name).string(), options);
  }
  EXPECT_EQ(warned, (std::set<std::string>{"cut_with_end_marker.jpg", "damaged_codes.jpg"}));
}

TEST(WebP, RefusesEveryTruncationAnimationsAndTooManyPixels) {
  for (const char* name : {"lossy.webp", "lossless.webp", "lossy_alpha.webp", "exif6.webp"}) {
    const std::vector<uint8_t> whole = read_file((kFolder / name).string());
    for (size_t size = 1; size < whole.size(); ++size)
      EXPECT_ERROR(decode_image(whole.data(), size, "x.webp"), testing::HasSubstr("x.webp"))
          << name << " " << size;
    DecodeOptions options;
    options.max_pixels = 100;
    EXPECT_ERROR(decode_image(whole.data(), whole.size(), "x.webp", options),
                 testing::HasSubstr("13 x 9 pixels"));
  }
  std::vector<uint8_t> animated = read_file((kFolder / "exif6.webp").string());
  animated[20] |= 2;  // the flag in VP8X
  EXPECT_ERROR(decode_image(animated.data(), animated.size(), "x.webp"),
               testing::HasSubstr("x.webp: an animated WebP"));
}

}  // namespace
}  // namespace lasnet::test
