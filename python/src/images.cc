// From photographs to the network's input.
#include "images.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>

#include "arguments.h"
#include "bindings.h"
#include "lasnet/error.h"

namespace lasnet::python {
namespace {

constexpr const char* kExpectedImage =
    "a path, the bytes of an image file, a PIL image or an array uint8 [H, W, 3]";

/// Throws Error on a shape that is no image, before anything of its size is copied.
void check_shape(const AnyArray& image, const std::string& name, int64_t max_pixels) {
  const bool fits = image.ndim() == 3 && image.shape(2) == 3 && image.shape(0) >= 1 && image.shape(1) >= 1;
  if (!fits) {
    std::string hint;
    if (image.ndim() == 3 && image.shape(0) == 3) hint = "; this is CHW: give image.transpose(1, 2, 0)";
    if (image.ndim() == 4) hint = "; give a batch as a list of images";
    if (image.ndim() == 2) hint = "; a grey image needs three channels";
    throw Error(name + ": shape " + shape_text(image) + "; expected [H, W, 3], H and W >= 1" + hint);
  }
  const auto pixels = static_cast<double>(image.shape(0)) * static_cast<double>(image.shape(1));
  if (pixels > static_cast<double>(max_pixels)) {
    throw Error(name + ": " + shape_text(image) + " has more than " + std::to_string(max_pixels) +
                " pixels (max_pixels)");
  }
}

/// A view of rows that may have gaps between them; nothing of any other order.
std::optional<ImageView> view_in_place(const AnyArray& image) {
  const int64_t row_bytes = image.stride(0);
  if (!is_contiguous(image, 1) || std::abs(row_bytes) < static_cast<int64_t>(3 * image.shape(1)))
    return std::nullopt;
  return ImageView{.data = static_cast<const uint8_t*>(image.data()),
                   .width = static_cast<int>(image.shape(1)),
                   .height = static_cast<int>(image.shape(0)),
                   .format = PixelFormat::rgb,
                   .stride = row_bytes};
}

void check_signals() {
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

/// Prepares one image after the other into one batch.
class Batch {
 public:
  Batch(size_t images, Preprocessing preprocessing)
      : images_(images), preprocessing_(std::move(preprocessing)) {}

  void add(const ImageView& image, const std::string& name) {
    const MapSize size = preprocessed_size({image.height, image.width}, preprocessing_);
    if (added_ == 0) {
      size_ = size;
      check_batch_memory(static_cast<int64_t>(images_), size);
      values_.resize(static_cast<size_t>(element_count(shape())));
    } else if (!(size == size_)) {
      throw Error(name + ": becomes " + to_string(Shape{size.height, size.width}) +
                  ", the images before it " + to_string(Shape{size_.height, size_.width}) +
                  "; expected one size: give them one by one, or prepare them with a crop");
    }
    const size_t count = values_.size() / images_;
    preprocess(image, preprocessing_, std::span(values_).subspan(added_++ * count, count));
  }

  Shape shape() const { return {static_cast<int64_t>(images_), 3, size_.height, size_.width}; }
  std::vector<float> take() { return std::move(values_); }

 private:
  size_t images_, added_ = 0;
  Preprocessing preprocessing_;
  MapSize size_;
  std::vector<float> values_;
};

/// float32 [N, 3, H, W], and what is to be warned of.
std::tuple<nb::object, std::vector<std::string>> prepare(const nb::list& tagged,
                                                         const std::vector<std::string>& names,
                                                         const PreprocessingTuple& given, int64_t max_pixels,
                                                         bool strict) {
  std::vector<ImageSource> sources;
  sources.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    sources.emplace_back(tagged[i], names[i], ReadOptions{max_pixels, strict});
  }
  std::vector<std::string> warnings;
  Batch batch(names.size(), to_preprocessing(given));
  {
    const nb::gil_scoped_release released;
    for (size_t i = 0; i < names.size(); ++i) {
      batch.add(sources[i].decode(warnings), names[i]);
      check_signals();
    }
  }
  const Shape shape = batch.shape();
  return {to_numpy(batch.take(), shape), std::move(warnings)};
}

nb::bytes png(nb::handle picture) {
  const ContiguousArray<uint8_t> pixels(
      to_array(picture, nb::dtype<uint8_t>(), "picture", "uint8 [H, W, 3]"));
  const Shape& shape = pixels.shape();
  if (shape.size() != 3 || shape[2] != 3) {
    throw Error("picture: shape " + to_string(shape) + "; expected [H, W, 3]");
  }
  const std::span<const uint8_t> values = pixels.view().data;
  const Image image{static_cast<int>(shape[1]), static_cast<int>(shape[0]), {values.begin(), values.end()}};
  const std::vector<uint8_t> bytes = encode_png(image);
  return nb::bytes(bytes.data(), bytes.size());
}

}  // namespace

ImageSource::ImageSource(nb::handle tagged, std::string name, const ReadOptions& options)
    : name_(std::move(name)), options_(options) {
  const auto kind = nb::cast<std::string>(tagged[0]);
  const nb::object value = tagged[1];
  if (kind == "array") {
    array_ = to_array(value, nb::dtype<uint8_t>(), name_, kExpectedImage);
    check_shape(*array_, name_, options_.max_pixels);
    return;
  }
  bytes_ = nb::cast<nb::bytes>(value);
  if (kind == "path") path_ = {bytes_->c_str(), bytes_->size()};
}

ImageView ImageSource::decode(std::vector<std::string>& warnings) {
  if (array_) {
    if (const auto view = view_in_place(*array_)) return *view;
    copy_.emplace(*array_);
    return {.data = copy_->data(),
            .width = static_cast<int>(array_->shape(1)),
            .height = static_cast<int>(array_->shape(0)),
            .format = PixelFormat::rgb,
            .stride = 0};
  }
  const DecodeOptions options{.max_pixels = options_.max_pixels,
                              .strict = options_.strict,
                              .on_warning = [&](const std::string& warning) { warnings.push_back(warning); }};
  const auto* contents = static_cast<const uint8_t*>(bytes_->data());
  decoded_ =
      path_.empty() ? decode_image(contents, bytes_->size(), name_, options) : load_image(path_, options);
  return decoded_;
}

Image to_image(const ImageView& view) { return crop(view, 0, 0, view.height, view.width); }

nb::object to_numpy(Image image) {
  const Shape shape{image.height, image.width, 3};
  return to_numpy(std::move(image.rgb), shape);
}

void bind_images(nb::module_& module) {
  module.def("prepare", &prepare);
  module.def("png", &png);
  module.attr("DEFAULT_MAX_PIXELS") = kDefaultMaxPixels;
}

}  // namespace lasnet::python
