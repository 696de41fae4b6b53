// Folders, augmentation and batches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "lasnet/error.h"
#include "support/expect_error.h"
#include "synthetic_folder.h"
#include "train/augment.h"
#include "train/train_data.h"

namespace lasnet {
namespace {

using test::SyntheticFolder;
using testing::AllOf;
using testing::HasSubstr;

std::set<std::string> paths(const std::vector<Sample>& samples) {
  std::set<std::string> names;
  for (const Sample& sample : samples) names.insert(sample.path);
  return names;
}

TEST(OpenData, TakesTheGivenParts) {
  SyntheticFolder folder("parts");
  folder.add_two_classes(3, 2);
  DataSplit split = open_data(folder.path(), 0.5, 1);
  EXPECT_THAT(split.classes, testing::ElementsAre("blue", "red"));
  EXPECT_EQ(split.train.size(), 6u);
  EXPECT_EQ(split.val.size(), 4u);
}

TEST(OpenData, TakesAFolderNamedValidAndCountsWhatIsLeftOut) {
  SyntheticFolder folder("valid");
  folder.add_two_classes(3, 2);
  std::filesystem::rename(folder.path("val"), folder.path("valid"));
  std::ofstream(folder.path("train/red/a.gif")) << "GIF";
  std::ofstream(folder.path("valid/red/a.gif")) << "GIF";
  DataSplit split = open_data(folder.path(), 0.5, 1);
  EXPECT_EQ(split.train.size(), 6u);
  EXPECT_EQ(split.val.size(), 4u);
  EXPECT_EQ(split.left_out, (LeftOut{{".gif", 2}}));
}

TEST(OpenData, HoldsOutAShareOfEveryClassBySeed) {
  SyntheticFolder folder("classes");
  folder.add("", "red", 0, 10);
  folder.add("", "blue", 2, 5);
  DataSplit split = open_data(folder.path(), 0.2, 1);
  EXPECT_EQ(std::ranges::count(split.val, 0, &Sample::label), 1);
  EXPECT_EQ(std::ranges::count(split.val, 1, &Sample::label), 2);
  std::set<std::string> all = paths(split.train);
  all.merge(paths(split.val));
  EXPECT_EQ(all.size(), 15u);
  EXPECT_EQ(paths(open_data(folder.path(), 0.2, 1).val), paths(split.val));
  EXPECT_NE(paths(open_data(folder.path(), 0.2, 2).val), paths(split.val));
}

TEST(OpenData, TrainWithoutValIsSplit) {
  SyntheticFolder folder("train_only");
  folder.add("train", "red", 0, 4);
  folder.add("train", "blue", 2, 4);
  DataSplit split = open_data(folder.path(), 0.25, 1);
  EXPECT_EQ(split.train.size(), 6u);
  EXPECT_EQ(split.val.size(), 2u);
}

TEST(OpenData, RefusesFoldersThatCannotBeUsed) {
  SyntheticFolder folder("bad");
  EXPECT_THROW(open_data(folder.path("missing"), 0.1, 1), Error);
  folder.add("train", "red", 0, 2);
  EXPECT_THROW(open_data(folder.path(), 0.1, 1), Error) << "one class";
  std::filesystem::create_directories(folder.path("train/empty"));
  EXPECT_ERROR(open_data(folder.path(), 0.1, 1), HasSubstr("empty"));
}

TEST(OpenData, RefusesDifferentClassesInTheParts) {
  SyntheticFolder folder("mixed");
  folder.add_two_classes(2, 2);
  folder.add("val", "green", 1, 2);
  EXPECT_ERROR(open_data(folder.path(), 0.1, 1),
               AllOf(HasSubstr("only train has: none"), HasSubstr("only val has: green")));
  for (int i = 0; i < 30; ++i) folder.add("train", "class" + std::to_string(10 + i), 1, 1);
  EXPECT_ERROR(open_data(folder.path(), 0.1, 1),
               HasSubstr("only train has: class10, class11, class12, class13, class14 ... 25 more;"));
}

TEST(OpenData, RefusesToSplitASingleImage) {
  SyntheticFolder folder("single");
  folder.add("", "red", 0, 1);
  folder.add("", "blue", 2, 3);
  EXPECT_ERROR(open_data(folder.path(), 0.1, 1), AllOf(HasSubstr("red"), HasSubstr("one image")));
}

TEST(ImageSource, GivesTheSameImagesFromMemoryAndFromDisk) {
  SyntheticFolder folder("cache");
  folder.add_two_classes(4, 1);
  const std::vector<Sample> samples = open_data(folder.path(), 0.1, 1).train;
  auto prepare = [](const Image& image) { return resize(image, 20, 20); };
  constexpr int64_t kBytes = 20 * 20 * 3;
  const ImageSource held(samples, prepare, 100 * kBytes), partly(samples, prepare, 3 * kBytes + 1),
      never(samples, prepare, 0);
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < held.size(); ++i) {
      const Image first = *held.image(i);
      EXPECT_EQ(first, prepare(load_image(samples[static_cast<size_t>(i)].path)));
      EXPECT_EQ(first, *partly.image(i));
      EXPECT_EQ(first, *never.image(i));
      EXPECT_EQ(held.label(i), samples[static_cast<size_t>(i)].label);
    }
    EXPECT_EQ(held.cached(), 8);
    EXPECT_EQ(partly.cached(), 3);
    EXPECT_EQ(never.cached(), 0);
    EXPECT_EQ(held.take_figures().images, pass == 0 ? 8 : 0);
    EXPECT_EQ(partly.take_figures().images, pass == 0 ? 8 : 5);
    EXPECT_EQ(never.take_figures().images, 8);
  }
}

TEST(ImageSource, NamesAnUnreadableImage) {
  SyntheticFolder folder("unreadable");
  folder.add_two_classes(2, 1);
  std::ofstream(folder.path("train/red/broken.jpg")) << "this is text";
  const ImageSource source(
      open_data(folder.path(), 0.1, 1).train, [](const Image& image) { return image; }, 1 << 20);
  EXPECT_THAT(test::error_of([&] {
                for (int64_t i = 0; i < source.size(); ++i) (void)source.image(i);
              }),
              AllOf(HasSubstr("broken.jpg"), HasSubstr("`skip_unreadable`")));
}

TEST(ImageSource, LeavesUnreadableImagesOut) {
  SyntheticFolder folder("left_out");
  folder.add_two_classes(3, 1);
  const auto prepare = [](const Image& image) { return image; };
  const ImageSource whole(open_data(folder.path(), 0.1, 1).train, prepare, 1 << 20);
  for (const char* name : {"train/blue/0.jpg", "train/red/broken.jpg", "train/red/zz.png"})
    std::ofstream(folder.path(name)) << "this is text";
  const std::vector<Sample> samples = open_data(folder.path(), 0.1, 1).train;
  for (const int64_t cache : {0, 1 << 20}) {
    ImageSource source(samples, prepare, cache, /*skips_unreadable=*/true);
    const ImageSource::Unreadable errors = source.find_unreadable(0, source.size(), 2);
    ASSERT_EQ(errors.size(), 3u);
    EXPECT_THAT(std::next(errors.begin())->second, HasSubstr("broken.jpg"));
    source.leave_out(errors);
    ASSERT_EQ(source.size(), whole.size());
    EXPECT_EQ(source.cached(), cache == 0 ? 0 : 6);
    for (int64_t i = 0; i < source.size(); ++i) {
      EXPECT_EQ(*source.image(i), *whole.image(i));
      EXPECT_EQ(source.label(i), whole.label(i));
    }
  }
  for (const Sample& sample : samples) std::ofstream(sample.path) << "this is text";
  EXPECT_THAT(test::error_of([&] {
                ImageSource source(samples, prepare, 0, true);
                source.leave_out(source.find_unreadable(0, source.size(), 2));
              }),
              HasSubstr("none of 9 images can be read"));
}

TEST(RandomCropBox, StaysInsideWithTheAskedAreaAndRatio) {
  for (auto [height, width] : {std::pair{100, 100}, {60, 200}, {300, 40}, {1, 1}}) {
    Random random(3);
    for (int i = 0; i < 300; ++i) {
      CropBox box = random_crop_box(height, width, 0.35, random);
      ASSERT_GE(box.top, 0);
      ASSERT_GE(box.left, 0);
      ASSERT_GE(std::min(box.height, box.width), 1);
      ASSERT_LE(box.top + box.height, height);
      ASSERT_LE(box.left + box.width, width);
      if (height != width || height == 1) continue;
      double area = static_cast<double>(box.height) * box.width / (height * width);
      double ratio = static_cast<double>(box.width) / box.height;
      ASSERT_GT(area, 0.33);
      ASSERT_GT(ratio, 0.72);
      ASSERT_LT(ratio, 1.4);
    }
  }
}

TEST(RandomCropBox, FallsBackToTheCentreOfALongImage) {
  Random random(3);
  CropBox box = random_crop_box(10, 1000, 1.0, random);
  EXPECT_EQ(box.height, 10);
  EXPECT_EQ(box.width, 13);
  EXPECT_EQ(box.left, (1000 - 13) / 2);
}

Image gradient_image(int width, int height) {
  Image image{.width = width, .height = height, .rgb = {}};
  for (int i = 0; i < width * height * 3; ++i) image.rgb.push_back(static_cast<uint8_t>(i * 7 % 251));
  return image;
}

TEST(Augment, DependsOnTheRandomStreamAlone) {
  Image image = gradient_image(50, 40);
  auto view = [&](uint64_t seed) {
    Random random(seed);
    return augment(image, 32, 0.3, true, random);
  };
  EXPECT_EQ(view(1), view(1));
  EXPECT_NE(view(1), view(2));
}

TEST(Augment, FlipsHalfOfTheViewsLeftToRight) {
  Image image = gradient_image(32, 32);
  Image mirrored = image;
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 32; ++x) {
      for (int c = 0; c < 3; ++c) {
        mirrored.rgb[static_cast<size_t>((y * 32 + x) * 3 + c)] =
            image.rgb[static_cast<size_t>((y * 32 + 31 - x) * 3 + c)];
      }
    }
  }
  int same = 0, flipped = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Random random(seed);
    Image view = augment(image, 32, 1.0, true, random);
    same += view == image;
    flipped += view == mirrored;
  }
  // Only whole-image boxes compare equal; both kinds occur about equally often.
  EXPECT_GT(same, 5);
  EXPECT_GT(flipped, 5);
}

TEST(ShrinkForTraining, KeepsTwiceTheTrainingSize) {
  Image shrunk = shrink_for_training(gradient_image(300, 200), 40);
  EXPECT_EQ(shrunk.width, 120);
  EXPECT_EQ(shrunk.height, 80);
  Image small = gradient_image(79, 300);
  EXPECT_EQ(shrink_for_training(small, 40), small);
}

TEST(BatchWriter, WritesTheValuesOfToInput) {
  Preprocessing preprocessing{.resize = 8, .crop = 8};
  preprocessing.mean = {0.1f, 0.2f, 0.3f};
  std::vector<Image> images = {gradient_image(8, 8), gradient_image(8, 8)};
  images[1].rgb[5] = 200;
  const BatchWriter writer(preprocessing);
  Batch batch = empty_batch(2, 8);
  writer.write(images[1], 1, batch, 1);
  writer.write(images[0], 3, batch, 0);
  EXPECT_TRUE(batch.images.is_contiguous(torch::MemoryFormat::ChannelsLast));
  for (int64_t n = 0; n < 2; ++n) {
    Tensor expected = to_input(images[static_cast<size_t>(n)], preprocessing);
    torch::Tensor got = batch.images[n].contiguous();
    EXPECT_EQ(std::vector<float>(got.data_ptr<float>(), got.data_ptr<float>() + got.numel()), expected.data);
    EXPECT_EQ(batch.labels[n].item<int64_t>(), n == 0 ? 3 : 1);
  }
  EXPECT_THROW(writer.write(gradient_image(9, 8), 0, batch, 0), Error);
}

Batch labelled(int64_t index, int64_t images) {
  return {.images = {}, .labels = torch::full({images}, index, torch::kInt64)};
}

TEST(BatchStream, KeepsOrderAndPassesErrorsOn) {
  const auto open = [](int64_t index) {
    if (index == 7) throw Error("batch 7");
    return labelled(index, 1);
  };
  BatchStream stream({.open = open}, 3, 8, 3);
  for (int64_t expected = 3; expected < 7; ++expected) {
    EXPECT_EQ(stream.next()->labels.item<int64_t>(), expected);
  }
  EXPECT_THROW(stream.next(), Error);
  BatchStream empty({.open = open}, 8, 8, 3);
  EXPECT_FALSE(empty.next().has_value());
}

TEST(BatchStream, MakesEveryImageOnceAndThenClosesTheBatch) {
  for (const int workers : {1, 2, 7}) {
    std::atomic<int> made = 0, early = 0;
    const auto fill = [&](int64_t index, int64_t image, Batch& batch) {
      // Later images are done first.
      std::this_thread::sleep_for(std::chrono::microseconds(300 * (4 - image)));
      batch.labels.data_ptr<int64_t>()[image] += 100 * index + image;
      ++made;
    };
    const auto close = [&](int64_t index, Batch batch) {
      for (int64_t image = 0; image < batch.size(); ++image)
        if (batch.labels[image].item<int64_t>() != 101 * index + image) ++early;
      batch.labels += 1000;
      return batch;
    };
    const auto open = [](int64_t index) { return labelled(index, index % 4); };
    BatchStream stream({.open = open, .fill = fill, .close = close}, 0, 10, workers);
    for (int64_t index = 0; index < 10; ++index) {
      const std::optional<Batch> batch = stream.next();
      ASSERT_TRUE(batch);
      ASSERT_EQ(batch->size(), index % 4);
      for (int64_t image = 0; image < batch->size(); ++image)
        EXPECT_EQ(batch->labels[image].item<int64_t>(), 1000 + 101 * index + image);
    }
    EXPECT_FALSE(stream.next());
    EXPECT_EQ(made, 1 + 2 + 3 + 1 + 2 + 3 + 1);
    EXPECT_EQ(early, 0);
  }
}

TEST(BatchStream, AnImagesErrorIsItsBatchs) {
  const auto fill = [](int64_t index, int64_t image, Batch&) {
    if (index == 1 && image == 1) throw Error("image 1 of batch 1");
  };
  BatchStream stream({.open = [](int64_t index) { return labelled(index, 3); }, .fill = fill}, 0, 3, 2);
  EXPECT_TRUE(stream.next());
  EXPECT_ERROR(stream.next(), HasSubstr("image 1 of batch 1"));
  EXPECT_TRUE(stream.next());
}

TEST(BatchStream, RunsAheadAndMayBeLeftEarly) {
  std::atomic<int> opened = 0;
  {
    const auto open = [&](int64_t index) {
      ++opened;
      return labelled(index, 2);
    };
    BatchStream stream({.open = open, .fill = [](int64_t, int64_t, Batch&) {}}, 0, 1000, 2);
    EXPECT_TRUE(stream.next());
    for (int i = 0; i < 1000 && opened < 4; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(opened, 4) << "three ahead of the reader";
  }
  EXPECT_EQ(opened, 4);
}

class TrainDataTest : public testing::Test {
 protected:
  TrainDataTest() : folder_("train_data") {
    folder_.add_two_classes(7, 3);
    config_.data = folder_.path();
    config_.size = 32;
    config_.batch = 4;
    config_.seed = 5;
  }

  std::vector<Batch> epoch(int index, int64_t first_step, int threads) {
    World alone;
    TrainData data(
        config_, threads, [](const std::string&) {}, alone);
    BatchStream stream = data.training("finetune", index, first_step);
    std::vector<Batch> batches;
    while (std::optional<Batch> batch = stream.next()) batches.push_back(*batch);
    return batches;
  }

  SyntheticFolder folder_;
  TrainConfig config_;
};

TEST_F(TrainDataTest, AnEpochDoesNotDependOnThreadsOrItsStart) {
  std::vector<Batch> whole = epoch(2, 0, 1), tail = epoch(2, 1, 3);
  ASSERT_EQ(whole.size(), 3u) << "14 images, batches of 4, remainder dropped";
  ASSERT_EQ(tail.size(), 2u);
  for (size_t i = 0; i < tail.size(); ++i) {
    EXPECT_TRUE(torch::equal(whole[i + 1].images, tail[i].images));
    EXPECT_TRUE(torch::equal(whole[i + 1].labels, tail[i].labels));
  }
  EXPECT_FALSE(torch::equal(whole[0].images, epoch(3, 0, 1)[0].images));
}

TEST_F(TrainDataTest, AnEpochDoesNotDependOnWorkersOrOnWhatIsHeld) {
  config_.colour_jitter = 0.4;
  config_.colour_jitter_hue = 0.1;
  config_.trivial_augment = true;
  config_.random_erasing = 0.5;
  config_.mixup = 0.5;
  config_.cache_bytes = "0";
  const std::vector<Batch> decoded = epoch(1, 0, 1);
  for (const char* cache : {"1G", "20K"}) {
    for (const int workers : {1, 2, 5}) {
      config_.cache_bytes = cache;
      config_.workers = workers;
      World alone;
      TrainData data(
          config_, 1, [](const std::string&) {}, alone);
      for (int pass = 0; pass < 2; ++pass) {
        data.take_figures();
        BatchStream stream = data.training("finetune", 1, 0);
        for (const Batch& expected : decoded) {
          const std::optional<Batch> batch = stream.next();
          ASSERT_TRUE(batch);
          EXPECT_TRUE(torch::equal(batch->images, expected.images)) << cache << " " << workers;
          EXPECT_TRUE(torch::equal(batch->labels, expected.labels));
          EXPECT_TRUE(torch::equal(batch->mixed_labels, expected.mixed_labels));
        }
        EXPECT_FALSE(stream.next());
      }
      const int64_t again = data.take_figures().images;
      EXPECT_EQ(again == 0, std::string(cache) == "1G") << again;
    }
  }
}

TEST_F(TrainDataTest, EveryAugmentationChangesTheEpoch) {
  const std::vector<Batch> plain = epoch(0, 0, 1);
  const auto changed = [&](auto set) {
    const TrainConfig before = config_;
    set(config_);
    const std::vector<Batch> batches = epoch(0, 0, 1);
    config_ = before;
    return !torch::equal(batches[0].images, plain[0].images);
  };
  EXPECT_TRUE(changed([](TrainConfig& config) { config.colour_jitter = 0.3; }));
  EXPECT_TRUE(changed([](TrainConfig& config) { config.colour_jitter_hue = 0.3; }));
  EXPECT_TRUE(changed([](TrainConfig& config) { config.trivial_augment = true; }));
  EXPECT_TRUE(changed([](TrainConfig& config) { config.random_erasing = 1; }));
  EXPECT_FALSE(changed([](TrainConfig& config) { config.workers = 3; }));
}

TEST_F(TrainDataTest, ValidationSeesEveryImageInOrderAsDeployed) {
  World alone;
  TrainData data(
      config_, 2, [](const std::string&) {}, alone);
  BatchStream stream = data.validation();
  const std::vector<Sample> items = open_data(folder_.path(), 0.1, 5).val;
  size_t next = 0;
  while (std::optional<Batch> batch = stream.next()) {
    for (int64_t n = 0; n < batch->size(); ++n, ++next) {
      Image seen = resize_and_crop(load_image(items.at(next).path), data.preprocessing());
      torch::Tensor got = batch->images[n].contiguous();
      EXPECT_EQ(std::vector<float>(got.data_ptr<float>(), got.data_ptr<float>() + got.numel()),
                to_input(seen, data.preprocessing()).data);
      EXPECT_EQ(batch->labels[n].item<int64_t>(), items[next].label);
    }
  }
  EXPECT_EQ(next, items.size());
}

TEST_F(TrainDataTest, DamagedImagesAreSaidOnceOrStrictlyLeftOut) {
  std::filesystem::copy_file(LASNET_IMAGE_DATA "/kinds/damaged_codes.jpg", folder_.path("train/red/bad.jpg"));
  std::vector<std::string> messages;
  const auto said = [&] {
    return std::ranges::count_if(messages,
                                 [](const std::string& text) { return text.find("bad.jpg") != text.npos; });
  };
  World alone;
  config_.cache_bytes = "0";
  TrainData data(
      config_, 2, [&](const std::string& text) { messages.push_back(text); }, alone);
  for (int epoch = 0; epoch < 4; ++epoch) {
    BatchStream stream = data.training("finetune", epoch, 0);
    while (stream.next()) {
    }
  }
  EXPECT_EQ(said(), 1);
  EXPECT_EQ(data.train_images(), 15);

  messages.clear();
  config_.strict_images = config_.skip_unreadable = true;
  TrainData strict(
      config_, 2, [&](const std::string& text) { messages.push_back(text); }, alone);
  EXPECT_EQ(said(), 1);
  EXPECT_EQ(strict.train_images(), 14);
}

TEST(ReadingNotes, GiveEachTextOnce) {
  ReadingNotes notes;
  notes.add("a");
  notes.add("b");
  notes.add("a");
  EXPECT_THAT(notes.take(), testing::ElementsAre("a", "b"));
  notes.add("b");
  EXPECT_THAT(notes.take(), testing::ElementsAre());
}

}  // namespace
}  // namespace lasnet
