// Images as Python programs have them: files, their bytes, arrays.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "lasnet/image.h"

namespace lasnet::python {

/// How image files are read.
struct ReadOptions {
  int64_t max_pixels = kDefaultMaxPixels;
  bool strict = false;
};

/// An image of one of three kinds. Reading the object needs the GIL, decoding does not.
class ImageSource {
 public:
  /// A tuple: ("path", os.fsencode(path)), ("bytes", the contents of a file) or ("array", uint8 [H, W, 3]).
  /// `name` is the argument's. Throws TypeError or Error on any other array.
  ImageSource(nb::handle tagged, std::string name, const ReadOptions& options);

  /// Valid until the next call. Throws Error naming the argument or the file. Faults of a damaged file that
  /// is decoded all the same are appended to `warnings`.
  ImageView decode(std::vector<std::string>& warnings);

 private:
  std::string name_;
  ReadOptions options_;
  std::string path_;
  std::optional<nb::bytes> bytes_;
  std::optional<AnyArray> array_;
  std::optional<ContiguousArray<uint8_t>> copy_;
  Image decoded_;
};

/// The pixels of a view, one after the other.
Image to_image(const ImageView& view);

/// A NumPy array uint8 [H, W, 3] that owns the image's pixels.
nb::object to_numpy(Image image);

}  // namespace lasnet::python
