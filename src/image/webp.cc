// Still WebP pictures through libwebp, whose errors are return values.
#include <webp/decode.h>

#include "base/fail.h"
#include "image/codec.h"

namespace lasnet {
namespace {

std::string reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends too early";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "not enough memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that libwebp does not know";
    default:
      return "damaged";
  }
}

void require_ok(const EncodedImage& encoded, VP8StatusCode status) {
  if (status != VP8_STATUS_OK) fail("{}: not a readable WebP: {}", encoded.origin, reason(status));
}

uint32_t little_endian(const uint8_t* bytes) {
  return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

/// The EXIF chunk of the RIFF container, wherever it stands.
int orientation(const EncodedImage& encoded) {
  constexpr size_t kHeader = 12, kChunkHeader = 8;
  for (size_t at = kHeader; at + kChunkHeader <= encoded.size;) {
    size_t length = little_endian(encoded.bytes + at + 4);
    size_t begin = at + kChunkHeader;
    if (length > encoded.size - begin) return 1;
    if (encoded.has("EXIF", at)) return exif_orientation(encoded.bytes + begin, length);
    at = begin + length + length % 2;
  }
  return 1;
}

/// A file cut behind its pixels is cut, too.
void check_is_whole(const EncodedImage& encoded) {
  constexpr size_t kRiffHeader = 8;
  if (encoded.size - kRiffHeader < little_endian(encoded.bytes + 4))
    require_ok(encoded, VP8_STATUS_NOT_ENOUGH_DATA);
}

}  // namespace

Image decode_webp(const EncodedImage& encoded) {
  check_is_whole(encoded);
  WebPDecoderConfig config;
  WebPInitDecoderConfig(&config);
  require_ok(encoded, WebPGetFeatures(encoded.bytes, encoded.size, &config.input));
  if (config.input.has_animation != 0)
    fail("{}: an animated WebP, expected a still picture; save one of its frames", encoded.origin);
  encoded.check_size(static_cast<uint64_t>(config.input.width), static_cast<uint64_t>(config.input.height));
  bool has_alpha = config.input.has_alpha != 0;
  Image image{config.input.width, config.input.height, {}};
  size_t pixels = static_cast<size_t>(image.width) * image.height;
  int channels = has_alpha ? 4 : 3;
  image.rgb.resize(pixels * channels);
  config.output.colorspace = has_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {
      .rgba = image.rgb.data(), .stride = image.width * channels, .size = image.rgb.size()};
  require_ok(encoded, WebPDecode(encoded.bytes, encoded.size, &config));
  if (has_alpha) {
    blend_over_white(image.rgb.data(), pixels, image.rgb.data());
    image.rgb.resize(pixels * 3);
  }
  return turn_upright(std::move(image), orientation(encoded));
}

}  // namespace lasnet
