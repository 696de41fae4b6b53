// Tuning a network of random weights: what it promises, measured again.
#include <gmock/gmock.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <cmath>
#include <set>

#include "formats/metadata.h"
#include "lasnet/geometry.h"
#include "lasnet/image.h"
#include "lasnet/tune.h"
#include "support/expect_error.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kImages = 20;
constexpr MapSize kSize{64, 64};

int64_t best_class(const Tensor& logits) {
  return std::ranges::max_element(logits.data) - logits.data.begin();
}

/// Images whose labels are what the network says as it was trained: it is right about all of them.
struct TestSet {
  explicit TestSet(const Model& model) {
    Session session(model);
    for (int64_t i = 0; i < kImages; ++i) {
      Tensor input = random_input(1, kSize, static_cast<uint64_t>(100 + i));
      const auto label = static_cast<int>(best_class(session.run(input).logits));
      images.push_back({std::move(input), label});
    }
  }

  LabelledImages labelled() const {
    return {.count = kImages, .read = [this](const std::vector<int64_t>& indices) {
              std::vector<LabelledImage> some;
              for (const int64_t index : indices) some.push_back(images[static_cast<size_t>(index)]);
              return some;
            }};
  }

  std::vector<LabelledImage> images;
};

class Tune : public testing::Test {
 protected:
  Model model_ = random_model(narrow_arch("resnet18", "4-4-2-1"), 5);
  TestSet set_{model_};
  TuneOptions options_{.points = 5, .images = 8, .batch = 3};
};

TEST_F(Tune, PointsAreWhatTheirThresholdsGive) {
  const std::vector<OperatingPoint> points = tune(model_, set_.labelled(), options_);
  ASSERT_GE(points.size(), 2u);
  Session session(model_);
  for (const OperatingPoint& point : points) {
    double hits = 0, ratio = 0;
    std::vector<double> rates(model_.spec.blocks.size());
    for (const LabelledImage& image : set_.images) {
      const Result result = session.run(image.input, {.thresholds = point.thresholds});
      hits += best_class(result.logits) == image.label;
      ratio += result.trace.macs_ratio();
      for (size_t b = 0; b < rates.size(); ++b) rates[b] += result.trace.blocks[b].rate;
    }
    EXPECT_NEAR(point.top1, hits / kImages, 1e-12);
    EXPECT_NEAR(point.macs_ratio, ratio / kImages, 1e-9);
    for (size_t b = 0; b < rates.size(); ++b) EXPECT_NEAR(point.rates[b], rates[b] / kImages, 1e-9);
  }
}

TEST_F(Tune, PointsReachFromTheLeastToTheTrainedOne) {
  const std::vector<OperatingPoint> points = tune(model_, set_.labelled(), options_);
  // The trained network is right about every image, so that nothing with more MACs is better.
  EXPECT_EQ(points.back().top1, 1);
  EXPECT_LE(*std::ranges::min_element(points.back().thresholds), 0);
  Session session(model_);
  double least = 0;
  for (const LabelledImage& image : set_.images)
    least += session.run(image.input, {.thresholds = {INFINITY}}).trace.macs_ratio() / kImages;
  EXPECT_GE(points.front().macs_ratio, least);
  EXPECT_LT(points.front().macs_ratio, least + 0.5 * (points.back().macs_ratio - least));
}

TEST_F(Tune, PointsAreThoseThatAModelFileTakes) {
  for (const uint64_t seed : {0, 1, 2}) {
    options_.seed = seed;
    model_.operating_points = tune(model_, set_.labelled(), options_);
    EXPECT_NO_THROW(check_metadata(model_, "tuned")) << seed;
  }
}

TEST_F(Tune, TheSameSeedGivesTheSamePoints) {
  const std::vector<OperatingPoint> once = tune(model_, set_.labelled(), options_);
  options_.session.threads = 2;
  EXPECT_EQ(tune(model_, set_.labelled(), options_), once);
}

/// A block whose body adds nothing costs no accuracy: it goes before the others do.
TEST_F(Tune, WhatDoesNotMatterGoesFirst) {
  const BlockSpec& idle = model_.spec.blocks[5];
  ASSERT_FALSE(idle.projection);
  for (const char* part : {".weight", ".bias"}) {
    for (float& value : model_.weights.at(idle.convs.back().norm_name + part).data) value = 0;
  }
  const TestSet set(model_);
  options_.points = 12;
  const std::vector<OperatingPoint> points = tune(model_, set.labelled(), options_);
  EXPECT_EQ(points.back().top1, 1);
  EXPECT_EQ(points.back().rates[5], 0);
}

TEST_F(Tune, PredictsTimesForTheProfiles) {
  options_.hardware = {load_hardware("tx2"), load_hardware("cpu-avx2")};
  for (const OperatingPoint& point : tune(model_, set_.labelled(), options_)) {
    EXPECT_EQ(point.predicted_ms.size(), 2u);
    EXPECT_GT(point.predicted_ms.at("tx2"), 0);
  }
}

TEST_F(Tune, ReportsProgressThatOnlyGrows) {
  double share = 0;
  bool measured = false;
  options_.progress = [&](const TuneProgress& progress) {
    EXPECT_LE(progress.share, 1);
    EXPECT_GE(progress.share, share);
    measured = progress.measuring, share = progress.share;
  };
  tune(model_, set_.labelled(), options_);
  EXPECT_TRUE(measured);
}

TEST_F(Tune, ImagesOfSeveralSizesAndMissingOnesAreTaken) {
  set_.images[3].input = random_input(1, {64, 96}, 7);
  const LabelledImages all = set_.labelled();
  const LabelledImages some{.count = kImages, .read = [&](const std::vector<int64_t>& indices) {
                              std::vector<LabelledImage> images = all.read(indices);
                              if (images.size() > 1) images.pop_back();
                              return images;
                            }};
  EXPECT_GE(tune(model_, some, options_).size(), 1u);
}

/// Others stand in for drawn images that cannot be read, wherever these are in the draw.
TEST_F(Tune, AsManyImagesDecideAsCanBeRead) {
  const std::vector<int64_t> readable = {4, 9, 12, 17};
  const LabelledImages all = set_.labelled();
  for (const uint64_t seed : {0, 1, 2, 3}) {
    for (const int wanted : {1, 3, 8}) {
      std::set<int64_t> read;
      size_t deciding = 0;
      const LabelledImages some{.count = kImages, .read = [&](std::vector<int64_t> indices) {
                                  std::erase_if(indices, [&](int64_t index) {
                                    return std::ranges::find(readable, index) == readable.end();
                                  });
                                  read.insert(indices.begin(), indices.end());
                                  return all.read(indices);
                                }};
      const auto note_deciding = [&](const TuneProgress&) {
        deciding = deciding == 0 ? read.size() : deciding;
      };
      tune(model_, some, {.points = 2, .images = wanted, .seed = seed, .progress = note_deciding});
      EXPECT_EQ(deciding, std::min<size_t>(static_cast<size_t>(wanted), readable.size())) << seed;
    }
  }
}

/// Before they are read, also where the first one of the draw says nothing.
TEST_F(Tune, MoreImagesThanMemoryHoldsAreRefused) {
  int calls = 0;
  const LabelledImages many{.count = 1 << 20, .read = [&](const std::vector<int64_t>& indices) {
                              EXPECT_EQ(indices.size(), 1u);
                              std::vector<LabelledImage> images;
                              if (++calls == 3) images.push_back({random_input(1, {1024, 1024}, 1), 0});
                              return images;
                            }};
  options_.images = 1 << 20;
  EXPECT_ERROR(tune(model_, many, options_), HasSubstr("1048576 images that thresholds are chosen on needs"));
  EXPECT_EQ(calls, 3);
}

#ifdef __GLIBC__
int64_t heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

/// Every block has a next step. Their differences are not all kept at once.
TEST_F(Tune, MemoryDoesNotGrowWithTheBlocks) {
  const Model model = random_model(narrow_arch("resnet50", "1-1-1-1", 0.125), 5);
  const TestSet set(model);
  int64_t patches = 0;
  for (const BlockGeometry& block : network_geometry(model.spec, kSize).blocks)
    patches += block.grid.patches();
  const int64_t differences = kImages * patches * static_cast<int64_t>(sizeof(float));
  int64_t first = 0, most = 0;
  options_ = {.points = 2, .images = kImages, .batch = 1, .progress = [&](const TuneProgress&) {
                if (first == 0) first = heap_bytes();
                most = std::max(most, heap_bytes());
              }};
  tune(model, set.labelled(), options_);
  EXPECT_LT(most - first, 8 * differences);  // four, and what their growth wastes; there are 16 blocks
}
#endif

TEST_F(Tune, FreshMaskersSelectAllOrNothing) {
  init_maskers(model_.spec, 1, 5, model_.weights);
  for (const BlockSpec& block : model_.spec.blocks) {
    for (float& value : model_.weights.at(block.masker_name() + ".weight").data) value = 0;
  }
  model_.operating_points = tune(model_, TestSet(model_).labelled(), options_);
  EXPECT_NO_THROW(check_metadata(model_, "tuned"));
}

TEST_F(Tune, BadSetsAndOptionsAreRefused) {
  EXPECT_ERROR(tune(model_, {}, options_), HasSubstr("without images"));
  EXPECT_ERROR(
      tune(model_, {.count = 3, .read = [](const auto&) { return std::vector<LabelledImage>(); }}, options_),
      HasSubstr("none of the 3 images"));
  TestSet mislabelled = set_;
  for (LabelledImage& image : mislabelled.images) image.label = 10;
  EXPECT_ERROR(tune(model_, mislabelled.labelled(), options_), HasSubstr("label 10; expected 0 to 9"));
  TestSet infinite = set_;
  for (LabelledImage& image : infinite.images) image.input.data[5] = INFINITY;
  EXPECT_ERROR(tune(model_, infinite.labelled(), options_), HasSubstr("not finite"));
  Model overflowing = model_;
  const std::string last = overflowing.spec.blocks.back().masker_name() + ".weight";
  Tensor& weight = overflowing.weights.at(last);
  std::fill_n(weight.data.begin(), weight.size() / 2, 3e38f);  // logit 0 of the last block's patches
  EXPECT_ERROR(tune(overflowing, set_.labelled(), options_),
               AllOf(HasSubstr(overflowing.spec.blocks.back().name), HasSubstr("not a finite number")));
  EXPECT_ERROR(tune(model_, set_.labelled(), {.points = 1}), HasSubstr("1 points; expected 2 to 100"));
  EXPECT_ERROR(tune(model_, set_.labelled(), {.images = 0}), HasSubstr("images that decide"));
  EXPECT_ERROR(tune(model_, set_.labelled(), {.batch = 0}), HasSubstr("images per run"));
  const Model plain = random_model(narrow_arch("resnet18", "static"), 5);
  EXPECT_ERROR(tune(plain, set_.labelled(), options_), HasSubstr("static network"));
  ArchConfig backbone = narrow_arch("resnet18", "4-4-2-1");
  backbone.classes = 0;
  EXPECT_ERROR(tune(random_model(backbone, 5), set_.labelled(), options_),
               HasSubstr("backbone without a classifier"));
}

}  // namespace
}  // namespace lasnet::test
