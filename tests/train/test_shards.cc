// Images in tar archives as WebDataset lays them out, beside the same images in folders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/expect_error.h"
#include "support/tar_writer.h"
#include "synthetic_folder.h"
#include "train/shards.h"
#include "train/train_data.h"

namespace lasnet {
namespace {

using test::kTarEnd;
using test::SyntheticFolder;
using test::tar_member;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder of images, and shards of the same ones.
class ShardTest : public testing::Test {
 protected:
  ShardTest()
      : folder_(std::string("shards_") + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    folder_.add("images/train", "red", 0, 5);
    folder_.add("images/train", "blue", 2, 4);
    folder_.add("images/val", "red", 0, 2);
    folder_.add("images/val", "blue", 2, 3);
    std::filesystem::create_directories(folder_.path("shards"));
  }

  void write(const std::string& name, const std::string& archive) const {
    const std::filesystem::path path = folder_.path(name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << archive << kTarEnd;
  }

  /// KEY.png and KEY.cls; the label stands first if the number is odd.
  std::string sample(const std::string& image, int label, int number) const {
    const std::string key = "some.folder/" + std::to_string(number);
    const std::string picture = tar_member(key + ".png", content_of(image));
    const std::string text = tar_member(key + ".cls", std::to_string(label) + "\n");
    return (number % 2 == 0 ? picture + text : text + picture) + tar_member(key + ".json", "{}");
  }

  /// Class by class, as image folders list them, in archives of three.
  void write_part(const std::string& part, const std::string& prefix) const {
    const ImageFolder images = open_image_folder(folder_.path("images/" + part));
    std::string archive;
    int number = 0;
    for (const ImageFolder::Item& item : images.items) {
      archive += sample(item.path, item.label, number++);
      if (number % 3 != 0 && number != static_cast<int>(images.items.size())) continue;
      write(fmt::format("{}{:03}.tar", prefix, (number - 1) / 3), archive);
      archive.clear();
    }
  }
  void write_both() const {
    write_part("train", "shards/train-");
    write_part("val", "shards/val-");
  }

  std::string shards() const { return folder_.path("shards"); }
  std::string error(const std::string& data) const {
    return test::error_of([&] { open_data(data, 0.5, 1); });
  }

  SyntheticFolder folder_;
};

TEST_F(ShardTest, HoldTheImagesOfTheFolder) {
  write_both();
  std::ofstream(shards() + "/classes.txt") << "blue\nred\r\n";
  const DataSplit in_folders = open_data(folder_.path("images"), 0.5, 1);
  for (const std::string& data : {shards(), shards() + "/{train,val}-{000..002}.tar"}) {
    if (data.back() == 'r') std::filesystem::copy(shards() + "/val-001.tar", shards() + "/val-002.tar");
    const DataSplit split = open_data(data, 0.5, 1, 3);
    EXPECT_EQ(split.classes, in_folders.classes);
    EXPECT_EQ(split.left_out, (LeftOut{{".json", data.back() == 'r' ? 16 : 14}}));
    ASSERT_EQ(split.train.size(), in_folders.train.size());
    const auto whole = [](const Image& image) { return image; };
    const ImageSource members(split.train, whole, 0), files(in_folders.train, whole, 0);
    for (int64_t i = 0; i < members.size(); ++i) {
      EXPECT_EQ(members.label(i), files.label(i));
      EXPECT_EQ(*members.image(i), *files.image(i));
    }
    EXPECT_EQ(split.train[4].name(), shards() + "/train-001.tar: some.folder/4.png");
  }
}

TEST_F(ShardTest, TrainAsFoldersDo) {
  write_both();
  TrainConfig config;
  config.size = 32;
  config.batch = 4;
  const auto batches = [&](const std::string& data_path) {
    config.data = data_path;
    World alone;
    TrainData data(
        config, 2, [](const std::string&) {}, alone);
    std::vector<Batch> all;
    for (BatchStream stream = data.training("finetune", 0, 0); const auto batch = stream.next();)
      all.push_back(*batch);
    for (BatchStream stream = data.validation(); const auto batch = stream.next();) all.push_back(*batch);
    return all;
  };
  const std::vector<Batch> files = batches(folder_.path("images")), members = batches(shards());
  ASSERT_EQ(files.size(), members.size());
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_TRUE(torch::equal(files[i].images, members[i].images));
    EXPECT_TRUE(torch::equal(files[i].labels, members[i].labels));
  }
}

TEST_F(ShardTest, PartsAreFoldersToo) {
  write_part("train", "shards/train/a");
  write_part("val", "shards/valid/a");
  const DataSplit split = open_data(shards(), 0.5, 1);
  EXPECT_EQ(split.train.size(), 9u);
  EXPECT_EQ(split.val.size(), 5u);
  EXPECT_THAT(split.classes, ElementsAre("0", "1"));
  EXPECT_EQ(split.files.size(), 5u);
  EXPECT_EQ(split.root, shards());
}

TEST_F(ShardTest, PartsAreWordsOfTheName) {
  write_part("train", "shards/imagenet1k-train-carnival");
  write_part("val", "shards/imagenet1k_validation");
  const DataSplit split = open_data(shards(), 0.5, 1);
  EXPECT_EQ(split.train.size(), 9u);
  EXPECT_EQ(split.val.size(), 5u);
}

TEST_F(ShardTest, WithoutValAPartIsHeldOut) {
  write_part("train", "shards/a-");
  const DataSplit split = open_data(shards() + "/a-{000..002}.tar", 0.25, 1);
  EXPECT_EQ(split.train.size(), 7u);
  EXPECT_EQ(split.val.size(), 2u);
  EXPECT_THAT(error(shards() + "/a-000.tar"), HasSubstr("all images are of one class"));
}

TEST_F(ShardTest, WhatIsWrongIsNamed) {
  const std::string red = folder_.path("images/train/red/0.png");
  EXPECT_THAT(error(shards() + "/train-{0..1}.tar"), AllOf(HasSubstr("train-0.tar"), HasSubstr("cannot be")));
  const auto with = [&](const std::string& archive) {
    write("shards/train-0.tar", archive);
    return error(shards());
  };
  EXPECT_THAT(with("x"), HasSubstr("train-0.tar: not a readable tar archive"));
  EXPECT_THAT(with(""), HasSubstr("train-0.tar: the archive has no image with a label"));
  EXPECT_THAT(with(tar_member("a.jpg", "x") + tar_member("b.cls", "0")),
              AllOf(HasSubstr("train-0.tar: a.jpg"), HasSubstr("expected a.cls beside it")));
  for (const char* label : {"", "cat", "-1", "1.5", "99999999999", "1000000", "0 1"})
    EXPECT_THAT(with(tar_member("a.cls", label)), HasSubstr("a.cls: expected the number of a class"))
        << label;
  EXPECT_THAT(with(tar_member("a.cls", std::string(65, '1'))), HasSubstr("a.cls: expected the number"));
  EXPECT_THAT(with(sample(red, 1, 0) + sample(red, 2, 1)),
              AllOf(HasSubstr("no training image is of class 0"), HasSubstr("from 0 to 2")));
  EXPECT_THAT(with(sample(red, 0, 0)), HasSubstr("all images are of one class"));
  std::ofstream(shards() + "/classes.txt") << "a\nb\n";
  EXPECT_THAT(with(sample(red, 2, 0)), AllOf(HasSubstr("0.png: class 2"), HasSubstr("classes.txt")));
  with(sample(red, 0, 0) + sample(red, 1, 1));
  write("shards/other.tar", sample(red, 0, 0));
  EXPECT_THAT(error(shards()), AllOf(HasSubstr("neither train nor val"), HasSubstr("other.tar")));
}

TEST_F(ShardTest, WhatIsNoImageIsCountedOrNamedWhenItIsRead) {
  const std::string red = folder_.path("images/train/red/0.png");
  write("shards/train-0.tar", sample(red, 0, 0) + sample(red, 1, 1) + tar_member("n", "x") +
                                  tar_member("._a.jpg", "x") + tar_member("c.cls", "1") +
                                  tar_member("d.jpg", "text") + tar_member("d.cls", "1"));
  write("shards/val-0.tar", sample(red, 0, 0));
  const DataSplit split = open_data(shards(), 0.5, 1);
  EXPECT_EQ(split.left_out, (LeftOut{{".json", 3}, {"labels without an image", 1}, {"without a suffix", 1}}));
  const ImageSource source(
      split.train, [](const Image& image) { return image; }, 0);
  EXPECT_ERROR((void)source.image(2), HasSubstr("train-0.tar: d.jpg"));
}

TEST(ExpandBraces, IsThatOfShells) {
  EXPECT_THAT(expand_braces("a"), ElementsAre("a"));
  EXPECT_THAT(expand_braces("a{08..10}b"), ElementsAre("a08b", "a09b", "a10b"));
  EXPECT_THAT(expand_braces("{x,y}-{1..2}"), ElementsAre("x-1", "x-2", "y-1", "y-2"));
  for (const char* pattern :
       {"a{", "a{1..", "a{1..x}", "a{2..1}", "a{-1..2}", "a{0..99999999}", "a{0..9999}{0..9999}"})
    EXPECT_ERROR(expand_braces(pattern), HasSubstr("expected")) << pattern;
}

}  // namespace
}  // namespace lasnet
