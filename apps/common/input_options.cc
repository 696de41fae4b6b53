#include "input_options.h"

#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "base/numbers.h"
#include "formats/npy.h"

namespace lasnet::cli {
void add_input_options(CLI::App& app, InputOptions& options) {
  add_number(app, "--size,--input-size", options.size, 32, 8192,
             "Crop to N x N px instead of the model's own size")
      ->default_str("");
  app.add_flag("--no-crop", options.no_crop, "Keep the whole photograph, at its aspect ratio");
}

Preprocessing apply(const InputOptions& options, Preprocessing preprocessing) {
  if (options.size > 0) {
    const double scale = preprocessing.crop > 0
                             ? static_cast<double>(preprocessing.resize) / preprocessing.crop
                             : 256.0 / 224.0;
    preprocessing.resize = static_cast<int>(std::lround(options.size * scale));
    preprocessing.crop = options.size;
  }
  if (options.no_crop) {
    // The network then sees objects at the scale it was trained on: the crop's side, not the resized one's.
    if (preprocessing.crop > 0) preprocessing.resize = preprocessing.crop;
    preprocessing.crop = 0;
  }
  return preprocessing;
}

std::optional<MapSize> cropped_size(const Preprocessing& preprocessing) {
  if (preprocessing.crop == 0) return std::nullopt;
  return MapSize{preprocessing.crop, preprocessing.crop};
}

MaskSet load_masks(const std::string& dir, const std::string& option) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(dir)) {
    fail("{} {}: {}; expected a folder with one <block>.npy per block, as lasnet forward --masks writes it",
         option, dir, fs::exists(dir) ? "is no folder" : "no such folder");
  }
  MaskSet masks;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".npy") masks[path.stem().string()] = load_npy_u8(path.string());
  }
  if (error) fail("{} {}: cannot be listed: {}", option, dir, error.message());
  if (masks.empty()) fail("{} {}: there is no .npy file in it; expected <block>.npy per block", option, dir);
  return masks;
}

MapSize parse_size(const std::string& text) {
  constexpr int kMinSide = 32, kMaxSide = 8192;
  const std::vector<std::string_view> parts = split(text, 'x');
  std::vector<int64_t> sides;
  for (const std::string_view part : parts) {
    const auto side = parse_number<int64_t>(part);
    if (side && *side >= kMinSide && *side <= kMaxSide) sides.push_back(*side);
  }
  if (parts.size() > 2 || sides.size() != parts.size())
    fail("'{}': expected a side in px or HEIGHTxWIDTH, each from {} to {}", text, kMinSide, kMaxSide);
  return {sides.front(), sides.back()};
}

}  // namespace lasnet::cli
