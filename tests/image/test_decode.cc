#include <png.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>

#include "base/random.h"
#include "encoders.h"
#include "image/codec.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Image decode(const Bytes& bytes) { return decode_image(bytes.data(), bytes.size(), "x.jpg"); }

/// Smooth enough for JPEG to keep it within a few levels, and without any symmetry.
Image gradient(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int value : {60 + 120 * x / width, 30 + 150 * y / height, 200 - 80 * x * y / (width * height)}) {
        image.rgb.push_back(static_cast<uint8_t>(value));
      }
    }
  }
  return image;
}

int largest_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int largest = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

Image random_image(int width, int height, uint64_t seed) {
  Random random(seed);
  Image image{width, height, Bytes(static_cast<size_t>(width) * height * 3)};
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.below(256));
  return image;
}

TEST(Jpeg, DecodesColour) {
  Image image = gradient(37, 21);
  for (JpegOptions options :
       {JpegOptions{}, JpegOptions{.progressive = true}, JpegOptions{.keep_rgb = true}}) {
    EXPECT_LE(largest_difference(decode(encode_jpeg(37, 21, image.rgb, options)), image), 3);
  }
}

TEST(Jpeg, DecodesGrey) {
  Image image = gradient(37, 21);
  Bytes samples(37 * 21);
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] = image.rgb[i * 3];
    image.rgb[i * 3 + 1] = image.rgb[i * 3 + 2] = image.rgb[i * 3];
  }
  EXPECT_LE(largest_difference(decode(encode_jpeg(37, 21, samples, {.components = 1})), image), 2);
}

/// CMYK samples of which the picture is `image` with `black` of the light taken by the black ink.
Bytes inks_of(const Image& image, int black, bool inverted) {
  Bytes samples;
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    int ink = 255 - image.rgb[i];
    samples.push_back(static_cast<uint8_t>(inverted ? 255 - ink : ink));
    if (i % 3 == 2) samples.push_back(static_cast<uint8_t>(inverted ? 255 - black : black));
  }
  return samples;
}

TEST(Jpeg, DecodesCmykAndYcckWithAndWithoutAdobesInversion) {
  Image image = gradient(37, 21), expected = image;
  constexpr int kBlack = 51;
  for (uint8_t& value : expected.rgb) value = static_cast<uint8_t>(value * (255 - kBlack) / 255);
  for (bool ycck : {false, true}) {
    for (bool adobe : {true, false}) {
      if (ycck && !adobe) continue;  // only the Adobe marker can say YCCK
      JpegOptions options{.components = 4, .ycck = ycck, .adobe_marker = adobe};
      Image got = decode(encode_jpeg(37, 21, inks_of(image, kBlack, adobe), options));
      EXPECT_LE(largest_difference(got, expected), 4) << "ycck " << ycck << " adobe " << adobe;
    }
  }
}

TEST(Jpeg, TurnsUprightWhatExifSays) {
  Image upright = gradient(40, 24);
  auto at = [&](int x, int y) { return &upright.rgb[(static_cast<size_t>(y) * 40 + x) * 3]; };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    // What the camera stored: row 0 and column 0 of the stored picture lie where EXIF 2.3 table 6 says.
    bool swap = orientation >= 5;
    Image stored{swap ? 24 : 40, swap ? 40 : 24, {}};
    for (int row = 0; row < stored.height; ++row) {
      for (int column = 0; column < stored.width; ++column) {
        int x = 0, y = 0;
        switch (orientation) {
          case 1:
            x = column, y = row;
            break;  // row 0 top, column 0 left
          case 2:
            x = 39 - column, y = row;
            break;  // top, right
          case 3:
            x = 39 - column, y = 23 - row;
            break;  // bottom, right
          case 4:
            x = column, y = 23 - row;
            break;  // bottom, left
          case 5:
            x = row, y = column;
            break;  // row 0 left, column 0 top
          case 6:
            x = 39 - row, y = column;
            break;  // right, top
          case 7:
            x = 39 - row, y = 23 - column;
            break;  // right, bottom
          case 8:
            x = row, y = 23 - column;
            break;  // left, bottom
        }
        stored.rgb.insert(stored.rgb.end(), at(x, y), at(x, y) + 3);
      }
    }
    Bytes jpeg = encode_jpeg(stored.width, stored.height, stored.rgb);
    for (bool big_endian : {false, true}) {
      Image got = decode(with_orientation(jpeg, orientation, big_endian));
      EXPECT_LE(largest_difference(got, upright), 3) << "orientation " << orientation;
    }
  }
}

TEST(Jpeg, IgnoresAbsurdExif) {
  Image image = gradient(16, 8);
  Bytes jpeg = encode_jpeg(16, 8, image.rgb);
  EXPECT_LE(largest_difference(decode(with_orientation(jpeg, 99, false)), image), 3);
  Bytes exif = with_orientation(jpeg, 6, false);
  exif[16] = 0xff;  // the directory lies beyond the segment
  exif[17] = 0xff;
  EXPECT_LE(largest_difference(decode(exif), image), 3);
}

/// What is said of a file that can be read.
std::vector<std::string> warnings_of(const Bytes& bytes, Image* image = nullptr) {
  std::vector<std::string> warnings;
  DecodeOptions options;
  options.on_warning = [&](const std::string& warning) { warnings.push_back(warning); };
  Image decoded = decode_image(bytes.data(), bytes.size(), "x.jpg", options);
  if (image != nullptr) *image = std::move(decoded);
  return warnings;
}

void expect_strictly_refused(const Bytes& bytes) {
  DecodeOptions strict;
  strict.strict = true;
  EXPECT_ERROR(decode_image(bytes.data(), bytes.size(), "x.jpg", strict),
               HasSubstr("x.jpg: a damaged image"));
}

TEST(Jpeg, RefusesEveryTruncation) {
  constexpr size_t kEndMarker = 2;
  for (JpegOptions options :
       {JpegOptions{}, {.progressive = true}, {.arithmetic = true}, {.restart_interval = 2}}) {
    Bytes jpeg = encode_jpeg(37, 21, random_image(37, 21, 1).rgb, options);
    for (size_t size = 1; size < jpeg.size() - kEndMarker; ++size) {
      EXPECT_ERROR(decode({jpeg.begin(), jpeg.begin() + size}), HasSubstr("x.jpg"))
          << size << "/" << jpeg.size();
    }
  }
}

TEST(Jpeg, ReadsAWholePictureWithoutItsEndMarkerAndSaysSo) {
  for (bool progressive : {false, true}) {
    Bytes jpeg = encode_jpeg(37, 21, random_image(37, 21, 1).rgb, {.progressive = progressive});
    const Image whole = decode(jpeg);
    EXPECT_THAT(warnings_of(jpeg), ElementsAre());
    for (int missing : {1, 2}) {
      Bytes cut(jpeg.begin(), jpeg.end() - missing);
      Image image;
      EXPECT_THAT(warnings_of(cut, &image),
                  ElementsAre(AllOf(HasSubstr("x.jpg"), HasSubstr("Premature end"))));
      EXPECT_EQ(image, whole);
      expect_strictly_refused(cut);
    }
  }
}

TEST(Jpeg, ReadsAroundARestartIntervalShortOfBytesAndSaysSo) {
  Image photo = random_image(64, 64, 2);
  Bytes jpeg = encode_jpeg(64, 64, photo.rgb, {.restart_interval = 8});  // one row of blocks
  const uint8_t third[] = {0xff, 0xd2};
  auto marker = std::search(jpeg.begin(), jpeg.end(), third, third + 2);
  ASSERT_NE(marker, jpeg.end());
  const Image whole = decode(jpeg);
  jpeg.erase(marker - 40, marker);
  Image image;
  EXPECT_THAT(warnings_of(jpeg, &image), ElementsAre(HasSubstr("x.jpg: a damaged image")));
  EXPECT_NE(image, whole);
  EXPECT_EQ(crop(image, 0, 0, 16, 64), crop(whole, 0, 0, 16, 64));
  EXPECT_EQ(crop(image, 24, 0, 40, 64), crop(whole, 24, 0, 40, 64))
      << "only the third row of blocks is damaged";
  expect_strictly_refused(jpeg);
}

TEST(Jpeg, TakesAnOddHeaderForNoDamage) {
  Bytes jpeg = encode_jpeg(16, 8, gradient(16, 8).rgb);
  ASSERT_EQ(std::string(jpeg.begin() + 6, jpeg.begin() + 10), "JFIF");
  jpeg[11] = 7;  // major version
  EXPECT_THAT(warnings_of(jpeg), ElementsAre());
}

double mean_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(a.rgb[i] - b.rgb[i]);
  return sum / static_cast<double>(a.rgb.size());
}

TEST(Jpeg, IsDecodedSmallerWhereThatIsEnough) {
  const std::vector<std::string> photographs = {"bird_nuthatch", "dandelions", "flower_dahlia", "fruit_fig",
                                                "mammal_dogs"};
  for (const std::string& name : photographs) {
    const std::string path = LASNET_SAMPLES "/" + name + ".jpg";
    const Image whole = load_image(path);
    const int shorter = std::min(whole.width, whole.height);
    for (const auto& [factor, tolerance] : {std::pair(1, 0.0), {2, 3.0}, {4, 4.0}, {8, 6.0}}) {
      const Image exact = load_image(path, {.min_side = shorter / factor});
      EXPECT_EQ(exact.width, (whole.width + factor - 1) / factor) << name << factor;
      EXPECT_EQ(exact.height, (whole.height + factor - 1) / factor) << name << factor;
      const Image more = load_image(path, {.min_side = shorter / factor + 1});
      EXPECT_EQ(more.width, factor == 1 ? whole.width : (whole.width + factor / 2 - 1) / (factor / 2));
      const Image expected = resize(whole, exact.width, exact.height);
      EXPECT_LE(mean_difference(exact, expected), tolerance) << name << factor;
    }
    EXPECT_EQ(load_image(path, {.min_side = 10 * shorter}), whole);
  }
}

TEST(Jpeg, TurnedAndGreyPicturesAreDecodedSmallerToo) {
  const Image image = gradient(64, 48);
  const Bytes turned = with_orientation(encode_jpeg(64, 48, image.rgb), 6, true);
  const Image half = decode_image(turned.data(), turned.size(), "x.jpg", {.min_side = 24});
  EXPECT_EQ(half.width, 24);
  EXPECT_EQ(half.height, 32);
  EXPECT_LE(largest_difference(half, resize(decode(turned), 24, 32)), 3);
  const Bytes inks = encode_jpeg(64, 48, Bytes(64 * 48 * 4, 100), {.components = 4});
  EXPECT_EQ(decode_image(inks.data(), inks.size(), "x.jpg", {.min_side = 6}).width, 8);
}

TEST(Jpeg, SaysThatCodesAreBadOncePerFile) {
  Bytes jpeg = encode_jpeg(64, 64, random_image(64, 64, 3).rgb);
  for (size_t i = jpeg.size() / 2; i < jpeg.size() / 2 + 200; ++i) jpeg[i] = 0x55;
  EXPECT_THAT(warnings_of(jpeg), ElementsAre(HasSubstr("Corrupt JPEG data")));
  expect_strictly_refused(jpeg);
}

TEST(Jpeg, RefusesAbsurdSizesBeforeAllocating) {
  Bytes jpeg = encode_jpeg(16, 8, gradient(16, 8).rgb);
  const uint8_t start_of_frame[] = {0xff, 0xc0};
  auto frame = std::search(jpeg.begin(), jpeg.end(), start_of_frame, start_of_frame + 2);
  ASSERT_NE(frame, jpeg.end());
  std::fill(frame + 5, frame + 9, 0xfe);  // height and width
  EXPECT_ERROR(decode(jpeg), AllOf(HasSubstr("x.jpg"), HasSubstr("65278 x 65278 pixels")));
}

TEST(Jpeg, RefusesThousandsOfScans) {
  Bytes jpeg = encode_jpeg(8, 8, gradient(8, 8).rgb, {.progressive = true});
  const uint8_t start_of_scan[] = {0xff, 0xda};
  auto first = std::search(jpeg.begin(), jpeg.end(), start_of_scan, start_of_scan + 2);
  auto second = std::search(first + 2, jpeg.end(), start_of_scan, start_of_scan + 2);
  Bytes scan(first, second), scans;
  for (int i = 0; i < 600; ++i) scans.insert(scans.end(), scan.begin(), scan.end());
  jpeg.insert(second, scans.begin(), scans.end());
  EXPECT_ERROR(decode(jpeg), HasSubstr("x.jpg: not a readable JPEG"));
}

TEST(Png, RoundTripsBitForBit) {
  TemporaryDir dir;
  for (auto [width, height] : {std::pair{1, 1}, {17, 5}, {3, 90}}) {
    Image image = random_image(width, height, 2);
    save_png(image, dir / "x.png");
    EXPECT_EQ(load_image(dir / "x.png"), image);
  }
}

TEST(Png, DecodesColourWithSixteenBitsAndInterlaced) {
  Image image = random_image(13, 9, 3);
  Bytes deep;
  for (uint8_t value : image.rgb) deep.insert(deep.end(), {value, value});  // v * 257 scales to v
  for (bool interlaced : {false, true}) {
    EXPECT_EQ(decode(encode_png_rows(13, 9, image.rgb, {.interlaced = interlaced})), image);
    EXPECT_EQ(decode(encode_png_rows(13, 9, deep, {.bit_depth = 16, .interlaced = interlaced})), image);
  }
}

TEST(Png, DecodesGreyOfEveryDepth) {
  for (int depth : {1, 2, 4, 8, 16}) {
    Bytes rows = depth == 16 ? Bytes{0x00, 0x00, 0x80, 0x80} : Bytes{0x1b, 0xe4};
    int width = depth == 16 ? 2 : 16 / depth;
    Image expected{width, 1, {}};
    for (int x = 0; x < width; ++x) {
      int levels = (1 << std::min(depth, 8)) - 1;
      int value = depth == 16 ? rows[x * 2]
                              : (rows[x * depth / 8] >> (8 - depth - x * depth % 8) & levels) * 255 / levels;
      expected.rgb.insert(expected.rgb.end(), 3, static_cast<uint8_t>(value));
    }
    EXPECT_EQ(
        decode(encode_png_rows(width, 1, rows, {.colour_type = PNG_COLOR_TYPE_GRAY, .bit_depth = depth})),
        expected)
        << depth;
  }
}

TEST(Png, BlendsAlphaOverWhite) {
  Image expected{4, 1, {10, 20, 30, 255, 255, 255, 133, 138, 143, 204, 206, 208}};
  Bytes rgba = {10, 20, 30, 255, 1, 2, 3, 0, 10, 20, 30, 127, 1, 11, 21, 51};
  EXPECT_LE(
      largest_difference(decode(encode_png_rows(4, 1, rgba, {.colour_type = PNG_COLOR_TYPE_RGBA})), expected),
      1);
  Bytes grey_alpha = {100, 255, 100, 0};
  EXPECT_EQ(decode(encode_png_rows(2, 1, grey_alpha, {.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA})),
            (Image{2, 1, {100, 100, 100, 255, 255, 255}}));
  Bytes deep = {10, 10, 20, 20, 30, 30, 0xff, 0xff, 1, 1, 2, 2, 3, 3, 0, 0};
  EXPECT_EQ(decode(encode_png_rows(2, 1, deep, {.colour_type = PNG_COLOR_TYPE_RGBA, .bit_depth = 16})),
            (Image{2, 1, {10, 20, 30, 255, 255, 255}}));
}

TEST(Png, DecodesPalettesWithAndWithoutAlpha) {
  PngOptions options{.colour_type = PNG_COLOR_TYPE_PALETTE, .palette = {1, 2, 3, 40, 50, 60, 7, 8, 9}};
  EXPECT_EQ(decode(encode_png_rows(3, 1, {2, 0, 1}, options)), (Image{3, 1, {7, 8, 9, 1, 2, 3, 40, 50, 60}}));
  options.palette_alpha = {255, 0};
  EXPECT_EQ(decode(encode_png_rows(3, 1, {2, 0, 1}, options)),
            (Image{3, 1, {7, 8, 9, 1, 2, 3, 255, 255, 255}}));
}

TEST(Png, RefusesEveryTruncation) {
  Bytes png = encode_png(random_image(37, 21, 4));
  for (size_t size = 1; size < png.size(); ++size) {
    EXPECT_ERROR(decode({png.begin(), png.begin() + size}), HasSubstr("x.jpg")) << size << "/" << png.size();
  }
}

TEST(Png, RefusesDamageAndAbsurdSizes) {
  Bytes png = encode_png(random_image(37, 21, 5));
  Bytes damaged = png;
  damaged[png.size() / 2] ^= 0xff;
  EXPECT_ERROR(decode(damaged), HasSubstr("x.jpg: not a readable PNG"));
  // Width and height with a matching checksum, so that only the size is wrong.
  Bytes huge = encode_png_rows(1, 1, {0}, {.colour_type = PNG_COLOR_TYPE_GRAY});
  const Bytes header = {0, 8, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0};  // 524288 x 524288
  std::copy(header.begin(), header.end(), huge.begin() + 16);
  uint32_t crc = 0xffffffff;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= huge[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  for (int i = 0; i < 4; ++i) huge[29 + i] = static_cast<uint8_t>(~crc >> (24 - 8 * i));
  EXPECT_ERROR(decode(huge), AllOf(HasSubstr("x.jpg"), HasSubstr("524288 x 524288 pixels")));
}

/// A PNG header of one grey pixel and a chunk that claims `length` bytes, of which so many are there.
Bytes png_with_chunk_of(const std::string& name, uint32_t length, size_t there) {
  Bytes png = encode_png_rows(1, 1, {0}, {.colour_type = PNG_COLOR_TYPE_GRAY});
  png.resize(33);  // signature and IHDR
  for (int shift : {24, 16, 8, 0}) png.push_back(static_cast<uint8_t>(length >> shift));
  png.insert(png.end(), name.begin(), name.end());
  png.insert(png.end(), there, 'x');
  return png;
}

int64_t peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

TEST(Png, AllocatesNoChunkBeyondTheBytesThatAreLeft) {
  const int64_t before = peak_megabytes();
  for (const char* name :
       {"tEXt", "zTXt", "iTXt", "iCCP", "sPLT", "eXIf", "pCAL", "tRNS", "PLTE", "IDAT", "abCd"}) {
    for (size_t there : {0, 3, 5}) {
      EXPECT_ERROR(decode(png_with_chunk_of(name, 0x7fffffff, there)),
                   AllOf(HasSubstr("x.jpg"), HasSubstr(std::string("chunk ") + name),
                         HasSubstr("claims 2147483647 bytes")));
    }
  }
  EXPECT_LT(peak_megabytes() - before, 100);
}

TEST(DecodeImage, RefusesMorePixelsThanItMay) {
  Image image = random_image(20, 10, 9);
  for (const Bytes& bytes : {encode_png(image), encode_jpeg(20, 10, image.rgb)}) {
    DecodeOptions options;
    options.max_pixels = 200;
    EXPECT_EQ(decode_image(bytes.data(), bytes.size(), "x", options).width, 20);
    options.max_pixels = 199;
    EXPECT_ERROR(decode_image(bytes.data(), bytes.size(), "x", options),
                 AllOf(HasSubstr("x: 20 x 10 pixels"), HasSubstr("max_pixels = 199")));
  }
  EXPECT_EQ(DecodeOptions{}.max_pixels, 89'478'485) << "as Pillow";
}

TEST(LoadImage, NamesTheFileAndTheReason) {
  TemporaryDir dir;
  write_text(dir / "empty.jpg", "");
  write_text(dir / "text.jpg", "This is no image at all.\n");
  EXPECT_ERROR(load_image(dir / "empty.jpg"), HasSubstr(dir / "empty.jpg: the file is empty"));
  EXPECT_ERROR(load_image(dir / "text.jpg"),
               HasSubstr(dir / "text.jpg: neither a JPEG, a PNG nor a WebP image"));
  EXPECT_ERROR(load_image(dir / "absent.jpg"), HasSubstr("No such file"));
  EXPECT_ERROR(load_image(dir.path()), HasSubstr("got a folder"));
}

TEST(LoadImage, SaysWhatStandsInThePlaceOfAPhotographAndWhatToDo) {
  struct Case {
    std::string content;
    const char *what, *remedy;
  };
  const std::string box("\0\0\0\x18", 4);
  const Case cases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer of Git LFS",
       "git lfs pull"},
      {"<!DOCTYPE html>\n<html><head><title>404</title>", "an HTML page", "download the picture again"},
      {"\xef\xbb\xbf\r\n  <HTML lang=\"en\">", "an HTML page", "download the picture again"},
      {box + "ftypheic" + box, "a HEIC image", "convert it to JPEG"},
      {box + "ftypmif1" + box, "a HEIC image", "convert it to JPEG"},
      {box + "ftypavif" + box, "an AVIF image", "convert it to JPEG"},
      {"GIF89a\1", "a GIF image", "convert it to JPEG"},
      {"BM\x36\1", "a BMP image", "convert it to JPEG"},
      {std::string("II*\0\x08", 5), "a TIFF image", "convert it to JPEG"},
      {std::string("MM\0*\0", 5), "a TIFF image", "convert it to JPEG"},
      {"P6\n2 2\n255\n", "a PPM, PGM or PBM image", "convert it to JPEG"},
      {"<?xml version=\"1.0\"?>\n<svg width=\"4\">", "an SVG drawing", "convert it to JPEG"},
      {"%PDF-1.7", "a PDF document", "convert it to JPEG"},
  };
  TemporaryDir dir;
  for (const Case& c : cases) {
    write_text(dir / "x.jpg", c.content);
    EXPECT_ERROR(load_image(dir / "x.jpg"),
                 AllOf(HasSubstr(dir / "x.jpg: "), HasSubstr(c.what), HasSubstr(c.remedy)));
  }
}

TEST(LoadImage, RecognisesContentNotNames) {
  TemporaryDir dir;
  Image image = random_image(5, 4, 6);
  save_png(image, dir / "really_png.jpg");
  EXPECT_EQ(load_image(dir / "really_png.jpg"), image);
}

TEST(SavePng, RefusesWhatIsNoImageAndLeavesTheOldFileOnAFullDisk) {
  TemporaryDir dir;
  EXPECT_ERROR(save_png({}, dir / "x.png"), HasSubstr("0 x 0"));
  EXPECT_ERROR(save_png({2, 2, Bytes(5)}, dir / "x.png"), HasSubstr("2 x 2 with 5 bytes"));
  EXPECT_EQ(dir.entries(), 0);
  Image image = random_image(5, 4, 7);
  save_png(image, dir / "x.png");
  {
    FullDisk full(1000);
    EXPECT_ERROR(save_png(random_image(50, 50, 8), dir / "x.png"), HasSubstr("writing failed"));
  }
  EXPECT_EQ(load_image(dir / "x.png"), image);
  EXPECT_EQ(dir.entries(), 1);
}

}  // namespace
}  // namespace lasnet::test
