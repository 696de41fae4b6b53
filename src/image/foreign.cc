// What people take for photographs: other formats under a photograph's name, and what stands in a picture's
// place.
#include <algorithm>
#include <cctype>

#include "base/fail.h"
#include "base/text.h"
#include "image/codec.h"

namespace lasnet {
namespace {

struct Signature {
  size_t offset;
  std::string_view bytes;
  const char* name;
};

constexpr Signature kImages[] = {
    {0, "GIF8", "a GIF image"},
    {0, "BM", "a BMP image"},
    {0, std::string_view("II*\0", 4), "a TIFF image"},
    {0, std::string_view("MM\0*", 4), "a TIFF image"},
    {0, "8BPS", "a Photoshop image"},
    {0, std::string_view("\0\0\1\0", 4), "an icon (.ico)"},
    {0, "\xff\x0a", "a JPEG XL image"},
    {0, std::string_view("\0\0\0\x0cJXL ", 8), "a JPEG XL image"},
    {0, std::string_view("\0\0\0\x0cjP  ", 8), "a JPEG 2000 image"},
    {0, "\xff\x4f\xff\x51", "a JPEG 2000 image"},
    {4, "ftypavif", "an AVIF image"},
    {4, "ftypavis", "an AVIF image"},
    {4, "ftyphei", "a HEIC image"},
    {4, "ftyphev", "a HEIC image"},
    {4, "ftypmif1", "a HEIC image"},
    {4, "ftypmsf1", "a HEIC image"},
    {0, "%PDF", "a PDF document"},
};

bool is_netpbm(const std::string& text) {
  return text.size() > 2 && text[0] == 'p' && text[1] >= '1' && text[1] <= '6' &&
         std::isspace(static_cast<unsigned char>(text[2])) != 0;
}

}  // namespace

std::string describe_foreign(const EncodedImage& encoded) {
  const char* convert = "which is not read here; convert it to JPEG, PNG or WebP";
  for (const Signature& signature : kImages) {
    if (encoded.has(signature.bytes, signature.offset)) return fmt::format("{}, {}", signature.name, convert);
  }
  constexpr size_t kMaxBytes = 512;
  const std::string text =
      beginning_of_text({reinterpret_cast<const char*>(encoded.bytes), std::min(encoded.size, kMaxBytes)});
  if (text.starts_with("version https://git-lfs")) {
    return "a pointer of Git LFS instead of the picture; `git lfs pull` in its repository brings the picture";
  }
  if (text.starts_with("<svg") || (text.starts_with("<?xml") && text.find("<svg") != std::string::npos))
    return fmt::format("an SVG drawing, {}", convert);
  if (text.starts_with("<!doctype html") || text.starts_with("<html"))
    return "an HTML page, probably a server's answer instead of the picture; download the picture again";
  if (is_netpbm(text)) return fmt::format("a PPM, PGM or PBM image, {}", convert);
  return "neither a JPEG, a PNG nor a WebP image";
}

}  // namespace lasnet
