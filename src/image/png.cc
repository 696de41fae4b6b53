// PNG. Reading uses libpng's row interface, whose errors arrive by longjmp: every call into it is made by
// PngReader::call from a function object that owns nothing, so that no destructor is skipped. (The simplified
// interface of libpng 1.6.39 garbles interlaced 16-bit files; writing is not concerned.)
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstring>
#include <new>

#include "base/fail.h"
#include "base/file.h"
#include "image/codec.h"
#include "lasnet/image.h"

namespace lasnet {
namespace {

constexpr size_t kSignatureBytes = 8;

/// Four letters, or what they should have been.
std::string chunk_name(const uint8_t* name) {
  bool letters = std::all_of(name, name + 4, [](uint8_t c) { return std::isalpha(c) != 0; });
  return letters ? std::string(name, name + 4) : "without a name";
}

/// Throws Error on a chunk that claims more bytes than the file has left: libpng allocates what it claims.
void check_chunks(const EncodedImage& encoded) {
  constexpr size_t kHeader = 8, kChecksum = 4;
  for (size_t at = kSignatureBytes; encoded.size - at >= kHeader;) {
    size_t length = png_get_uint_32(encoded.bytes + at);
    size_t left = encoded.size - at - kHeader;
    if (length + kChecksum > left) {
      fail(
          "{}: not a readable PNG: the file ends too early: its chunk {} at byte {} claims {} bytes and a "
          "checksum, of "
          "which {} are there",
          encoded.origin, chunk_name(encoded.bytes + at + 4), at, length, left);
    }
    if (encoded.has("IEND", at + 4)) return;
    at += kHeader + length + kChecksum;
  }
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
    size_t pixels = static_cast<size_t>(width_) * height_;
    size_t stride = static_cast<size_t>(width_) * channels_;
    bool has_alpha = channels_ == 4;
    // The passes of an interlaced picture need all of it; else alpha goes row by row.
    bool by_rows = has_alpha && passes_ == 1;
    Image image{static_cast<int>(width_), static_cast<int>(height_), {}};
    image.rgb.resize(by_rows ? pixels * 3 : stride * height_);
    std::vector<uint8_t> row(by_rows ? stride : 0);
    call([this, to = image.rgb.data(), stride, one = row.data()] {
      if (one != nullptr) {
        read_rows_over_white(one, to);
      } else {
        read_passes(to, stride);
      }
      png_read_end(png_, info_);  // a file cut after its pixels is cut, too
    });
    if (has_alpha && !by_rows) {
      blend_over_white(image.rgb.data(), pixels, image.rgb.data());
      image.rgb.resize(pixels * 3);
    }
    return turn_upright(std::move(image), orientation());
  }

 private:
  /// Runs calls into libpng; throws Error if they fail.
  template <typename Calls>
  void call(Calls calls) {
    if (setjmp(on_error_) != 0) fail("{}: not a readable PNG: {}", encoded_.origin, message_);
    calls();
  }

  /// Reads up to the pixels and asks for 8-bit RGB or RGBA. Of the chunks that may be skipped only tRNS and
  /// eXIf are looked at: texts and profiles, which may be large, are not even unpacked.
  void read_header() {
    png_set_read_fn(png_, this, read_bytes);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_AS_DEFAULT, reinterpret_cast<png_const_bytep>("eXIf"),
                                1);
    png_read_info(png_, info_);
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    width_ = png_get_image_width(png_, info_);
    height_ = png_get_image_height(png_, info_);
    channels_ = png_get_channels(png_, info_);
  }

  void read_rows_over_white(uint8_t* row, uint8_t* to) {
    for (png_uint_32 y = 0; y < height_; ++y, to += static_cast<size_t>(width_) * 3) {
      png_read_row(png_, row, nullptr);
      blend_over_white(row, width_, to);
    }
  }

  void read_passes(uint8_t* to, size_t stride) {
    for (int pass = 0; pass < passes_; ++pass) {
      for (png_uint_32 y = 0; y < height_; ++y) png_read_row(png_, to + y * stride, nullptr);
    }
  }

  int orientation() const {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    return png_get_eXIf_1(png_, info_, &size, &exif) != 0 ? exif_orientation(exif, size) : 1;
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
  int passes_ = 1;
};

/// Frees what libpng attached, also when an Error passes.
struct PngWriter : png_image {
  PngWriter() : png_image{} { version = PNG_IMAGE_VERSION; }
  PngWriter(const PngWriter&) = delete;
  ~PngWriter() { png_image_free(this); }
};

}  // namespace

Image decode_png(const EncodedImage& encoded) {
  check_chunks(encoded);
  return PngReader(encoded).read();
}

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
