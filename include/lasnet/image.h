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

/// Order of the bytes of a pixel. The fourth of rgba and bgra is ignored.
enum class PixelFormat { rgb, bgr, rgba, bgra };

/// An 8-bit image that somebody else owns, e.g. a camera's frame. Functions read it; an Image converts to it.
struct ImageView {
  const uint8_t* data = nullptr;          ///< first byte of the top row
  int width = 0;                          ///< pixels
  int height = 0;                         ///< pixels
  PixelFormat format = PixelFormat::rgb;  ///< order of a pixel's bytes
  int64_t stride = 0;  ///< bytes from a row to the one below it, negative in bottom-up images; 0: no gaps
};

/// 8-bit RGB, interleaved, row-major [height, width, 3].
struct Image {
  int width = 0;             ///< pixels
  int height = 0;            ///< pixels
  std::vector<uint8_t> rgb;  ///< height * width * 3 values

  /// Whether it has no pixels.
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
  /// Whether a damaged JPEG that can be decoded all the same is an Error.
  bool strict = false;
  /// A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps so many pixels.
  /// That is faster, and a pixel is about the mean of those that it stands for. 0: always at its full size.
  int min_side = 0;
  /// Called once for such a JPEG, by the thread that decodes. The warning is a sentence that names the file
  /// and the damage.
  std::function<void(const std::string& warning)> on_warning = {};
};

/// Decodes an image file, recognised by content: JPEG (grey, YCbCr, RGB, CMYK, YCCK), PNG (grey, palette,
/// RGB; 1 to 16 bit) or still WebP. Transparent pixels lie over white. The image is turned upright as EXIF
/// says. Throws Error naming the file and the reason, such as a truncated file or the name of another format.
LASNET_EXPORT Image load_image(const std::string& path, const DecodeOptions& options = {});
/// The same from memory; `origin` names it in messages.
LASNET_EXPORT Image decode_image(const uint8_t* bytes, size_t size, const std::string& origin,
                                 const DecodeOptions& options = {});

/// The bytes of a PNG file. Throws Error on an empty image.
LASNET_EXPORT std::vector<uint8_t> encode_png(const Image& image);
/// Writes them atomically. Throws Error on an empty image or a failed write.
LASNET_EXPORT void save_png(const Image& image, const std::string& path);

/// Resizes bilinearly with antialiasing (a triangle filter, wider when shrinking), as torchvision and Pillow.
/// This and all functions below throw Error on an empty image, a null pointer or a stride shorter than a row.
LASNET_EXPORT Image resize(const ImageView& image, int width, int height);
/// Pixels [top, top + height) x [left, left + width). They must lie inside the image.
LASNET_EXPORT Image crop(const ImageView& image, int top, int left, int height, int width);

/// Resizes the shorter side to `resize` and crops the centre: the image that the network sees.
LASNET_EXPORT Image resize_and_crop(const ImageView& image, const Preprocessing& preprocessing);
/// The network's input, (value / 255 - mean) / std, as float32 [1, 3, H, W].
LASNET_EXPORT Tensor to_input(const ImageView& image, const Preprocessing& preprocessing);

/// Throws Error where the memory does not hold so many inputs of this size, float32 [images, 3, H, W]. To be
/// asked before they are made.
LASNET_EXPORT void check_batch_memory(int64_t images, MapSize size);

/// Size of resize_and_crop's result for an image of this size.
LASNET_EXPORT MapSize preprocessed_size(MapSize image, const Preprocessing& preprocessing);
/// to_input(resize_and_crop(image)) into memory of the caller, [3, H, W] with H x W = preprocessed_size. The
/// pixels are read where they lie. Throws Error if `input` has another size.
LASNET_EXPORT void preprocess(const ImageView& image, const Preprocessing& preprocessing,
                              std::span<float> input);

/// Stacks [1, 3, H, W] tensors of one size to [N, 3, H, W].
LASNET_EXPORT Tensor stack(const std::vector<Tensor>& inputs);

/// How many files of a folder are not read, by kind: ".gif", "in nested folders", ...
using LeftOut = std::map<std::string, int64_t>;
/// "14 files were left out: 10 .gif, 4 in nested folders", the largest number first; "" if there are none.
LASNET_EXPORT std::string describe_left_out(const LeftOut& left_out);

/// An image classification folder: one folder per class, with .jpg, .jpeg, .png and .webp files. Classes and
/// files are in name order. Names that begin with a dot are ignored.
struct ImageFolder {
  /// One image.
  struct Item {
    std::string path;  ///< of the file
    int label = 0;     ///< index of its class
  };
  std::vector<std::string> classes;  ///< names of the class folders
  std::vector<Item> items;           ///< class by class
  LeftOut left_out;                  ///< all other files in the class folders, and images beside these
};

/// Lists a folder. Throws Error if it is missing, has fewer than two classes, or a class without images.
LASNET_EXPORT ImageFolder open_image_folder(const std::string& dir);

/// The part of a data set that is for validation: DIR/val, else DIR/valid; "" if there is neither.
LASNET_EXPORT std::string validation_folder(const std::string& dir);

/// Paths of the .jpg, .jpeg, .png and .webp files in DIR and its subfolders, at any depth, in path order.
/// Names that begin with a dot are ignored. Throws Error if DIR is missing or holds none.
LASNET_EXPORT std::vector<std::string> list_images(const std::string& dir);

}  // namespace lasnet
