// TensorBoard's files: known bytes here, and its own reader in tests/train/read_event_files.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "lasnet/error.h"
#include "support/temporary_dir.h"
#include "train/board_log.h"
#include "train/event_file.h"

namespace lasnet {
namespace {

using test::TemporaryDir;
using testing::AllOf;
using testing::HasSubstr;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

TEST(Crc32c, IsThatOfTheStandardsExamples) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(TfRecord, FramesBytesAsTensorFlowDoes) {
  // tensorboard 2.21: RecordWriter(file).write(b"abc")
  EXPECT_EQ(tf_record("abc"), bytes({0x03, 0, 0, 0, 0, 0, 0, 0, 0xb0, 0x99, 0x49, 0xe}) + "abc" +
                                  bytes({0x6e, 0x57, 0xf1, 0x21}));
}

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    paths.push_back(entry.path().string());
  std::ranges::sort(paths);
  return paths;
}

TEST(EventFile, BeginsWithItsVersionAndNeverInAnOtherFile) {
  const TemporaryDir dir;
  EventFile first(dir / "a", 1), second(dir / "a", 2);
  const std::vector<std::string> files = files_in(dir / "a");
  ASSERT_EQ(files.size(), 2u);
  for (const std::string& path : files) {
    EXPECT_THAT(path, HasSubstr("/events.out.tfevents."));
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_THAT(text.str(), HasSubstr(bytes({0x1a, 13}) + "brain.Event:2"));
  }
}

TEST(EventFile, SaysWhatItCannotWrite) {
  const TemporaryDir dir;
  std::ofstream(dir / "file") << "x";
  EXPECT_THROW(EventFile(dir / "file", 1), Error);
}

TEST(BoardLog, ShowsTheSettingsAsATable) {
  TrainConfig config;
  config.epochs = 7;
  EXPECT_THAT(settings_table(config), AllOf(HasSubstr("| setting | value |\n|---|---|\n"),
                                            HasSubstr("\n| epochs | 7 |\n"), HasSubstr("\n| arch | \"")));
}

TEST(BoardLog, HasACurveForEveryFigure) {
  EpochInfo info;
  info.phase = "finetune";
  info.train_losses = {.classification = 1, .distillation = 0.5, .features = 0, .budget = 0.25};
  info.images = {.decoded = 10, .decode_seconds = 2, .wait_seconds = 1};
  info.seconds = 4;
  info.validation.rates = {0.5, 0.75};
  std::map<std::string, double> values;
  for (const Scalar& scalar : scalars_of(info, {"layer1.0", "layer1.1"})) values[scalar.tag] = scalar.value;
  EXPECT_EQ(values.at("loss/distillation"), 0.5);
  EXPECT_EQ(values.at("loss/budget"), 0.25);
  EXPECT_FALSE(values.contains("loss/features"));
  EXPECT_EQ(values.at("rate/layer1.1"), 0.75);
  EXPECT_EQ(values.at("speed/decoded_images_per_s_and_core"), 5);
  EXPECT_EQ(values.at("speed/share_waiting_for_images"), 0.25);
  info.validation.rates.clear();
  for (const Scalar& scalar : scalars_of(info, {})) EXPECT_FALSE(scalar.tag.starts_with("rate/"));
}

}  // namespace
}  // namespace lasnet
