// Photographs: decoding, preprocessing as torchvision does it, and PNG output.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lasnet/model.h"
#include "lasnet/tensor.h"

namespace lasnet {

/// Order of the bytes of a pixel; the fourth of rgba and bgra is ignored.
enum class PixelFormat { rgb, bgr, rgba, bgra };

/// An 8-bit image that somebody else owns, e.g. a camera's frame: what functions read. Images convert to it.
struct ImageView {
  const uint8_t* data = nullptr;  ///< first byte of the top row
  int width = 0;
  int height = 0;
  PixelFormat format = PixelFormat::rgb;
  int64_t stride = 0;  ///< bytes from a row to the one below it, negative in bottom-up images; 0: no gaps
};

/// 8-bit RGB, interleaved, row-major [height, width, 3].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;

  bool empty() const { return rgb.empty(); }
  /// Throws Error if `rgb` does not hold width * height pixels.
  LASNET_EXPORT operator ImageView() const;
  bool operator==(const Image&) const = default;
};

/// The default of DecodeOptions::max_pixels, from which on Pillow warns of decompression bombs.
inline constexpr int64_t kDefaultMaxPixels = 89'478'485;
/// Largest width * height that resizing makes.
inline constexpr int64_t kMaxImagePixels = 256LL << 20;

/// How image files are read.
struct DecodeOptions {
  /// Largest width * height; a larger image is an Error before anything is allocated for its pixels. Decoding
  /// takes at most 11 bytes per pixel (docs/images.md), most of them for progressive JPEG.
  int64_t max_pixels = kDefaultMaxPixels;
  /// A damaged JPEG that can be decoded all the same is an Error.
  bool strict = false;
  /// Told why such a JPEG is damaged, once, in a sentence that names it; by the thread that decodes.
  std::function<void(const std::string& warning)> on_warning = {};
};

/// Decodes a JPEG (grey, YCbCr, RGB, CMYK, YCCK), PNG (grey, palette, RGB; 1 to 16 bit) or still WebP file,
/// recognised by content, puts transparent pixels over white, and turns the image upright as EXIF says.
/// Throws Error naming the file and the reason; a truncated file is one, and so is any other format, by name.
LASNET_EXPORT Image load_image(const std::string& path, const DecodeOptions& options = {});
/// The same from memory; `origin` names it in messages.
LASNET_EXPORT Image decode_image(const uint8_t* bytes, size_t size, const std::string& origin,
                                 const DecodeOptions& options = {});

/// Writes atomically. Throws Error on an empty image or a failed write.
LASNET_EXPORT void save_png(const Image& image, const std::string& path);

/// Bilinear with antialiasing (triangle filter widened when shrinking), as torchvision/Pillow. This and all
/// functions below throw Error on an empty image, a null pointer or a stride shorter than a row.
LASNET_EXPORT Image resize(const ImageView& image, int width, int height);
/// Pixels [top, top + height) x [left, left + width); must lie inside.
LASNET_EXPORT Image crop(const ImageView& image, int top, int left, int height, int width);

/// Resize of the shorter side to `resize` and centre crop; the image that the network sees.
LASNET_EXPORT Image resize_and_crop(const ImageView& image, const Preprocessing& preprocessing);
/// (value / 255 - mean) / std as [1, 3, H, W].
LASNET_EXPORT Tensor to_input(const ImageView& image, const Preprocessing& preprocessing);

/// Size of resize_and_crop's result for an image of this size.
LASNET_EXPORT MapSize preprocessed_size(MapSize image, const Preprocessing& preprocessing);
/// to_input(resize_and_crop(image)) into memory of the caller, [3, H, W] with H x W = preprocessed_size:
/// reads the pixels where they lie. Throws Error if `input` has another size.
LASNET_EXPORT void preprocess(const ImageView& image, const Preprocessing& preprocessing,
                              std::span<float> input);

/// Stacks [1, 3, H, W] tensors of one size to [N, 3, H, W].
LASNET_EXPORT Tensor stack(const std::vector<Tensor>& inputs);

/// How many files of a folder are not read, by kind: ".gif", "in nested folders", ...
using LeftOut = std::map<std::string, int64_t>;
/// "14 files were left out: 10 .gif, 4 in nested folders", the largest number first; "" if there are none.
LASNET_EXPORT std::string describe_left_out(const LeftOut& left_out);

/// An image classification folder: DIR/<class>/*.{jpg,jpeg,png,webp}, classes and files in name order. Names
/// that begin with a dot are ignored.
struct ImageFolder {
  struct Item {
    std::string path;
    int label = 0;
  };
  std::vector<std::string> classes;
  std::vector<Item> items;
  LeftOut left_out;  ///< all other files in the class folders, and images beside these
};

/// Throws Error if DIR is missing, has fewer than two classes, or a class without images (naming it).
LASNET_EXPORT ImageFolder open_image_folder(const std::string& dir);

/// The part of a data set that is for validation: DIR/val, else DIR/valid; "" if there is neither.
LASNET_EXPORT std::string validation_folder(const std::string& dir);

/// Paths of the .jpg, .jpeg, .png and .webp files in DIR and its subfolders, at any depth, in path order;
/// names that begin with a dot are ignored. Throws Error if DIR is missing or holds none.
LASNET_EXPORT std::vector<std::string> list_images(const std::string& dir);

}  // namespace lasnet
