// JPEG through libjpeg, whose errors arrive by longjmp: every call into it is made by JpegReader::call from a
// function object that owns nothing, so that no destructor is skipped.
//
// jpeglib.h uses size_t and FILE without declaring them.
// clang-format off
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "image/codec.h"

namespace lasnet {
namespace {

/// A progressive file of a few kilobytes can ask for thousands of passes over the picture.
constexpr int kMaxScans = 500;
constexpr int kExifMarker = JPEG_APP0 + 1;

/// Errors end the decoding; warnings leave a picture, with what libjpeg puts in the place of what is damaged.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];
  char warning[JMSG_LENGTH_MAX];  ///< the first one of the pixels; "" if there is none
  bool in_pixels;                 ///< the header has been read
  bool file_ended;                ///< bytes were asked for behind the last one
};

ErrorManager& errors_of(j_common_ptr jpeg) { return *reinterpret_cast<ErrorManager*>(jpeg->err); }

[[noreturn]] void on_error(j_common_ptr jpeg) {
  ErrorManager& errors = errors_of(jpeg);
  errors.base.format_message(jpeg, errors.message);
  std::longjmp(errors.on_error, 1);
}

[[noreturn]] void refuse_truncated(j_common_ptr jpeg) {
  errors_of(jpeg).base.msg_code = JWRN_JPEG_EOF;
  on_error(jpeg);
}

/// libjpeg looks ahead, so that a file without its end marker ends early, too. Pixels are missing only if the
/// decoder then runs out of bits.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  ErrorManager& errors = errors_of(jpeg);
  int code = errors.base.msg_code;
  bool starved = errors.file_ended && (code == JWRN_HIT_MARKER || code == JWRN_MUST_RESYNC);
  errors.file_ended |= code == JWRN_JPEG_EOF;
  if (starved || (errors.file_ended && !errors.in_pixels)) refuse_truncated(jpeg);
  // What is odd in a header (an unknown version, bytes between segments) leaves the pixels whole.
  if (errors.in_pixels && errors.warning[0] == '\0') errors.base.format_message(jpeg, errors.warning);
}

void limit_scans(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) {
    errors_of(jpeg).base.msg_code = JERR_BAD_SCAN_SCRIPT;
    on_error(jpeg);
  }
}

/// Releases libjpeg's memory, also when a constructor further out throws.
struct Decompressor : jpeg_decompress_struct {
  Decompressor() : jpeg_decompress_struct{} {}
  Decompressor(const Decompressor&) = delete;
  ~Decompressor() { jpeg_destroy_decompress(this); }
};

class JpegReader {
 public:
  explicit JpegReader(const EncodedImage& encoded) : encoded_(encoded) {
    jpeg_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
    progress_.progress_monitor = limit_scans;
    call([this] {
      jpeg_create_decompress(&jpeg_);
      jpeg_.progress = &progress_;
      jpeg_mem_src(&jpeg_, encoded_.bytes, static_cast<unsigned long>(encoded_.size));
      jpeg_save_markers(&jpeg_, kExifMarker, 0xffff);
      jpeg_read_header(&jpeg_, TRUE);
      errors_.in_pixels = true;
    });
  }

  /// Of the first EXIF segment, as in Pillow; a second one, of a thumbnail or an editor, says nothing.
  int orientation() const {
    for (const jpeg_marker_struct* marker = jpeg_.marker_list; marker != nullptr; marker = marker->next) {
      bool is_exif = marker->marker == kExifMarker && marker->data_length >= kExifPrefix.size() &&
                     std::memcmp(marker->data, kExifPrefix.data(), kExifPrefix.size()) == 0;
      if (is_exif) return exif_orientation(marker->data, marker->data_length);
    }
    return 1;
  }

  Image read() {
    encoded_.check_size(jpeg_.image_width, jpeg_.image_height);
    bool four_inks = jpeg_.num_components == 4;
    jpeg_.out_color_space = four_inks ? JCS_CMYK : JCS_RGB;
    jpeg_.scale_denom = reduction();
    call([this] { jpeg_calc_output_dimensions(&jpeg_); });
    Image image{static_cast<int>(jpeg_.output_width), static_cast<int>(jpeg_.output_height), {}};
    image.rgb.resize(static_cast<size_t>(image.width) * image.height * 3);
    std::vector<uint8_t> inks(four_inks ? static_cast<size_t>(image.width) * 4 : 0);
    call([this, to = image.rgb.data(), row = inks.data()] { read_rows(to, row); });
    if (errors_.warning[0] != '\0') encoded_.warn(errors_.warning);
    return image;
  }

 private:
  /// Runs calls into libjpeg; throws Error if they fail.
  template <typename Calls>
  void call(Calls calls) {
    if (setjmp(errors_.on_error) != 0) fail("{}: not a readable JPEG: {}", encoded_.origin, errors_.message);
    calls();
  }

  /// The largest that leaves the shorter side as long as is asked for.
  unsigned reduction() const {
    const unsigned shorter = std::min(jpeg_.image_width, jpeg_.image_height);
    for (const unsigned factor : {8u, 4u, 2u}) {
      if (encoded_.options.min_side > 0 &&
          shorter / factor >= static_cast<unsigned>(encoded_.options.min_side))
        return factor;
    }
    return 1;
  }

  void read_rows(uint8_t* to, uint8_t* inks) {
    jpeg_start_decompress(&jpeg_);
    size_t stride = static_cast<size_t>(jpeg_.output_width) * 3;
    for (; jpeg_.output_scanline < jpeg_.output_height; to += stride) {
      JSAMPROW row = jpeg_.out_color_space == JCS_CMYK ? inks : to;
      jpeg_read_scanlines(&jpeg_, &row, 1);
      if (row == inks) to_rgb(inks, to);
    }
    if (errors_.file_ended && !is_complete()) refuse_truncated(reinterpret_cast<j_common_ptr>(&jpeg_));
    jpeg_finish_decompress(&jpeg_);
  }

  /// Whether the file that ended held every coefficient to its last bit. Arithmetic decoding cannot tell: it
  /// goes on without bits.
  bool is_complete() const {
    if (jpeg_.arith_code) return false;
    for (int c = 0; c < jpeg_.num_components; ++c) {
      if (jpeg_.comp_info[c].quant_table == nullptr) return false;  // no scan had this component
      const int* missing_bits = jpeg_.progressive_mode ? jpeg_.coef_bits[c] : nullptr;
      if (missing_bits != nullptr &&
          !std::all_of(missing_bits, missing_bits + DCTSIZE2, [](int bits) { return bits == 0; }))
        return false;
    }
    return true;
  }

  /// Light left by the inks. Adobe's files, marked as such, hold light (255 - ink) already.
  void to_rgb(const uint8_t* inks, uint8_t* rgb) const {
    uint8_t flip = jpeg_.saw_Adobe_marker ? 0 : 255;
    for (JDIMENSION x = 0; x < jpeg_.output_width; ++x, inks += 4, rgb += 3) {
      int black = inks[3] ^ flip;
      for (int c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(((inks[c] ^ flip) * black + 127) / 255);
    }
  }

  const EncodedImage& encoded_;
  ErrorManager errors_{};
  jpeg_progress_mgr progress_{};
  Decompressor jpeg_;
};

}  // namespace

Image decode_jpeg(const EncodedImage& encoded) {
  JpegReader reader(encoded);
  int orientation = reader.orientation();  // read() releases the markers
  return turn_upright(reader.read(), orientation);
}

}  // namespace lasnet
