// How commands read image files and lists of classes: warnings, limits, what is left out.
#include <gmock/gmock.h>
#include <png.h>

#include <fstream>

#include "base/file.h"
#include "fixtures.h"
#include "program.h"
#include "support/sanitized.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ImagesTest : public ProgramTest {
 protected:
  void SetUp() override {
    model_ = save_tiny_model();
    write_image_folder(folder_.path("data"), 1, 3);
  }

  /// A JPEG of which libjpeg warns, copied to `name`.
  std::string damaged(const std::string& name) const {
    const fs::path to = folder_.path(name);
    fs::create_directories(to.parent_path());
    fs::copy_file(fs::path(LASNET_IMAGE_DATA) / "kinds/damaged_codes.jpg", to);
    return to.string();
  }

  std::string model_;
};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST_F(ImagesTest, ADamagedJpegIsReadWithAWarningOrStrictlyRefused) {
  const auto photo = damaged("photo.jpg");
  const auto result = run_program({"run", model_, photo, photo, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count(result.err, "photo.jpg: a damaged image"), 1u) << result.err;
  const auto strict = run_program({"run", model_, photo, "--strict-images"});
  EXPECT_EQ(strict.exit_code, 1);
  EXPECT_THAT(strict.err, HasSubstr("photo.jpg: a damaged image"));
}

TEST_F(ImagesTest, EvalWarnsOnceOfADamagedImageAndCanLeaveItOut) {
  damaged("data/val/disc/bad.jpg");
  const auto result = run_program({"eval", model_, folder_.path("data"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("images"), 7);
  EXPECT_EQ(count(result.err, "bad.jpg: a damaged image"), 1u) << result.err;
  const auto strict =
      run_program({"eval", model_, folder_.path("data"), "--json", "--strict-images", "--skip-unreadable"});
  ASSERT_EQ(strict.exit_code, 0) << strict.err;
  EXPECT_EQ(strict.json().at("images"), 6);
  EXPECT_EQ(strict.json().at("unreadable").size(), 1u);
}

TEST_F(ImagesTest, BenchWarnsOnceHoweverOftenItReadsAnImage) {
  damaged("photos/bad.jpg");
  const auto result =
      run_program({"bench", model_, "--images", folder_.path("photos"), "--repeat", "3", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(count(result.err, "bad.jpg: a damaged image"), 1u) << result.err;
}

TEST_F(ImagesTest, TheLimitOfPixelsIsAnOption) {
  const auto photo = save_photo("a.png");
  const auto refused = run_program({"run", model_, photo, "--max-pixels", "4095"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("a.png: 64 x 64 pixels"), HasSubstr("max_pixels = 4095")));
  EXPECT_EQ(run_program({"run", model_, photo, "--max-pixels", "4096"}).exit_code, 0);
}

/// A large transparent picture in few bytes.
void write_transparent_png(const std::string& path, int side) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  std::ofstream file(path, std::ios::binary);
  const auto write = [](png_structp from, png_bytep data, size_t size) {
    static_cast<std::ofstream*>(png_get_io_ptr(from))
        ->write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  };
  png_set_write_fn(png, &file, write, nullptr);
  const auto pixels = static_cast<png_uint_32>(side);
  png_set_IHDR(png, info, pixels, pixels, 8, PNG_COLOR_TYPE_RGBA, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const std::vector<uint8_t> row(static_cast<size_t>(side) * 4, 100);
  for (int y = 0; y < side; ++y) png_write_row(png, row.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
}

TEST_F(ImagesTest, ALargeTransparentPngTakesThreeBytesPerPixel) {
  constexpr int kSide = 6000;
  constexpr int64_t kPixels = int64_t{kSide} * kSide;
  write_transparent_png(folder_.path("large.png"), kSide);
  ProgramOptions limited;
  if (!kSanitized) limited.memory_limit = kPixels * 3 + (60 << 20);
  const auto result = run_program({"run", model_, folder_.path("large.png"), "--repeat", "1"}, limited);
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(ImagesTest, EvalSaysWhichFilesAreLeftOut) {
  for (const char* name : {"disc/1.gif", "disc/2.gif", "disc/3.tiff", "stripes/deep/4.png"})
    write_text(folder_.path(std::string("data/val/") + name), "");
  const auto result = run_program({"eval", model_, folder_.path("data"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("val: 4 files were left out: 2 .gif, 1 .tiff, 1 in nested folders"));
  EXPECT_EQ(result.json().at("left_out"),
            (nlohmann::json{{".gif", 2}, {".tiff", 1}, {"in nested folders", 1}}));
}

TEST_F(ImagesTest, EvalTakesAFolderNamedValid) {
  fs::rename(folder_.path("data/val"), folder_.path("data/valid"));
  const auto result = run_program({"eval", model_, folder_.path("data"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("images"), 6);
}

std::vector<std::string> named_by(const std::string& model, const std::string& list) {
  const auto result = run_program({"inspect", model, "--classes", list, "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.json().at("class_names");
}

TEST_F(ImagesTest, ClassListsAreReadAsPeopleMeanThem) {
  const std::vector<std::string> expected = {"a round disc", "stripes"};
  const auto list = folder_.path("names.txt");
  for (const char* text : {"a round disc\nstripes\n",
                           "\xef\xbb\xbf"
                           "a round disc\nstripes",
                           "a round disc\r\nstripes\r\n",
                           "\xef\xbb\xbf"
                           "a round disc\r\nstripes\r\n\r\n",
                           "a round disc\nstripes\n\n \n"}) {
    write_text(list, text);
    EXPECT_EQ(named_by(model_, list), expected) << text;
  }
}

TEST_F(ImagesTest, ClassListsThatMeanNothingAreRefusedWithTheirLine) {
  const auto list = folder_.path("names.txt");
  const std::pair<std::string, const char*> cases[] = {
      {"disc\n\nstripes\n", "names.txt:2: empty line"},
      {"\n\n", "expected one class name per line, got nothing"},
      {"disc\ta disc\nstripes\n", "names.txt:2: 'stripes'; expected on every line"},
      {"disc\nstripes\tlines\n", "names.txt:2: 'stripes\\x09lines'; expected on every line"},
      {"disc\ta disc\nstripes\t\n", "names.txt:2: 'stripes\\x09'; expected on every line"},
      {"disc\ta disc\ndisc\tstripes\n", "names.txt:2: the folder 'disc' is there twice"},
      {std::string("\xff\xfe"
                   "d\0",
                   4),
       "UTF-16; save it as UTF-8"},
  };
  for (const auto& [text, message] : cases) {
    write_text(list, text);
    const auto result = run_program({"inspect", model_, "--classes", list});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr(message));
  }
}

TEST_F(ImagesTest, AListOfTwoColumnsMatchesFoldersAndPrintsNames) {
  fs::rename(folder_.path("data/val/disc"), folder_.path("data/val/n01"));
  fs::rename(folder_.path("data/val/stripes"), folder_.path("data/val/n02"));
  const auto list = folder_.path("synsets.txt");
  write_text(list, "n01\tEnglish springer, a dog\nn02\tstriped cloth\n");
  EXPECT_EQ(run_program({"eval", model_, folder_.path("data")}).exit_code, 1);
  const auto evaluated = run_program({"eval", model_, folder_.path("data"), "--classes", list, "--json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_EQ(evaluated.json().at("images"), 6);

  const auto converted = folder_.path("named.safetensors"), photo = save_photo("a.png");
  ASSERT_EQ(run_program({"convert", model_, converted, "--classes", list}).exit_code, 0);
  const auto again = run_program({"eval", converted, folder_.path("data"), "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.json().at("top1"), evaluated.json().at("top1"));
  const auto run = run_program({"run", converted, photo});
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("English springer, a dog"), HasSubstr("striped cloth"), Not(HasSubstr("n01"))));
}

}  // namespace
}  // namespace lasnet::test
