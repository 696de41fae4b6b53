// Photographs: decoding, preprocessing as torchvision does it, and PNG output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lasnet/model.h"
#include "lasnet/tensor.h"

namespace lasnet {

/// 8-bit RGB, interleaved, row-major [height, width, 3].
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;

  bool empty() const { return rgb.empty(); }
  bool operator==(const Image&) const = default;
};

/// Largest accepted width * height; larger images are refused before anything is allocated for their pixels.
inline constexpr int64_t kMaxImagePixels = 256LL << 20;

/// Decodes a JPEG (grey, YCbCr, RGB, CMYK, YCCK) or PNG (grey, palette, RGB; 1 to 16 bit; alpha over white)
/// file, recognised by content, and turns it upright as EXIF says. Throws Error naming the file and the
/// reason; a truncated file is one.
Image load_image(const std::string& path);
Image decode_image(const uint8_t* bytes, size_t size, const std::string& origin);

/// Writes atomically.
void save_png(const Image& image, const std::string& path);

/// Bilinear with antialiasing (triangle filter widened when shrinking), as torchvision/Pillow.
Image resize(const Image& image, int width, int height);
/// Pixels [top, top + height) x [left, left + width); must lie inside.
Image crop(const Image& image, int top, int left, int height, int width);

/// Resize of the shorter side to `resize` and centre crop; the image that the network sees.
Image resize_and_crop(const Image& image, const Preprocessing& preprocessing);
/// (value / 255 - mean) / std as [1, 3, H, W].
Tensor to_input(const Image& image, const Preprocessing& preprocessing);
/// Stacks [1, 3, H, W] tensors of one size to [N, 3, H, W].
Tensor stack(const std::vector<Tensor>& inputs);

/// An image classification folder: DIR/<class>/*.{jpg,jpeg,png}, classes and files in name order. Other files
/// and names that begin with a dot are ignored.
struct ImageFolder {
  struct Item {
    std::string path;
    int label = 0;
  };
  std::vector<std::string> classes;
  std::vector<Item> items;
};

/// Throws Error if DIR is missing, has fewer than two classes, or a class without images (naming it).
ImageFolder open_image_folder(const std::string& dir);

/// Paths of the .jpg, .jpeg and .png files in DIR and its subfolders, at any depth, in path order; names that
/// begin with a dot are ignored. Throws Error if DIR is missing or holds none.
std::vector<std::string> list_images(const std::string& dir);

}  // namespace lasnet
