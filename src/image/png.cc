// PNG. Reading uses libpng's row interface, whose errors arrive by longjmp: every call into it is made by
// PngReader::call from a function object that owns nothing, so that no destructor is skipped. (The simplified
// interface of libpng 1.6.39 garbles interlaced 16-bit files; writing is not concerned.)
#include <png.h>

#include <csetjmp>
#include <cstring>
#include <new>

#include "core/fail.h"
#include "core/file.h"
#include "image/codec.h"

namespace lasnet {
namespace {

/// RGBA over white. Photographs are blended as they are stored (not in linear light), as viewers do.
Image over_white(const std::vector<uint8_t>& rgba, int width, int height) {
  Image image{width, height, std::vector<uint8_t>(rgba.size() / 4 * 3)};
  const uint8_t* from = rgba.data();
  for (uint8_t* to = image.rgb.data(); to != image.rgb.data() + image.rgb.size(); from += 4, to += 3) {
    int alpha = from[3];
    for (int c = 0; c < 3; ++c)
      to[c] = static_cast<uint8_t>((from[c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return image;
}

class PngReader {
 public:
  explicit PngReader(const EncodedImage& encoded) : encoded_(encoded), rest_(encoded.bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  PngReader(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Image read() {
    call([this] { read_header(); });
    encoded_.check_size(width_, height_);
    size_t stride = static_cast<size_t>(width_) * channels_;
    std::vector<uint8_t> pixels(stride * height_);
    std::vector<uint8_t*> rows(height_);
    for (size_t y = 0; y < height_; ++y) rows[y] = pixels.data() + y * stride;
    call([this, to = rows.data()] {
      png_read_image(png_, to);
      png_read_end(png_, nullptr);  // a file cut after its pixels is cut, too
    });
    auto [width, height] = std::pair(static_cast<int>(width_), static_cast<int>(height_));
    if (channels_ == 4) return over_white(pixels, width, height);
    return {width, height, std::move(pixels)};
  }

 private:
  /// Runs calls into libpng; throws Error if they fail.
  template <typename Calls>
  void call(Calls calls) {
    if (setjmp(on_error_) != 0) fail("{}: not a readable PNG: {}", encoded_.origin, message_);
    calls();
  }

  /// Reads up to the pixels and asks for 8-bit RGB or RGBA.
  void read_header() {
    png_set_read_fn(png_, this, read_bytes);
    png_read_info(png_, info_);
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    width_ = png_get_image_width(png_, info_);
    height_ = png_get_image_height(png_, info_);
    channels_ = png_get_channels(png_, info_);
  }

  static void read_bytes(png_structp png, png_bytep to, size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > static_cast<size_t>(self->encoded_.bytes + self->encoded_.size - self->rest_)) {
      png_error(png, "the file ends too early");
    }
    std::memcpy(to, self->rest_, size);
    self->rest_ += size;
  }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(self->message_, message, sizeof(self->message_) - 1);
    std::longjmp(self->on_error_, 1);
  }

  static void on_warning(png_structp, png_const_charp) {}

  const EncodedImage& encoded_;
  const uint8_t* rest_;  ///< bytes not read yet
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf on_error_;
  char message_[128] = {};
  png_uint_32 width_ = 0;
  png_uint_32 height_ = 0;
  int channels_ = 0;
};

/// Frees what libpng attached, also when an Error passes.
struct PngWriter : png_image {
  PngWriter() : png_image{} { version = PNG_IMAGE_VERSION; }
  PngWriter(const PngWriter&) = delete;
  ~PngWriter() { png_image_free(this); }
};

}  // namespace

Image decode_png(const EncodedImage& encoded) { return PngReader(encoded).read(); }

std::vector<uint8_t> encode_png(const Image& image) {
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) {
    fail("png: an image of {} x {} with {} bytes", image.width, image.height, image.rgb.size());
  }
  PngWriter png;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<uint8_t> bytes(size);
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    fail("png: cannot be encoded: {}", png.message);
  }
  bytes.resize(size);
  return bytes;
}

void save_png(const Image& image, const std::string& path) {
  std::vector<uint8_t> bytes = encode_png(image);
  write_file_atomically(path, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
}

}  // namespace lasnet
