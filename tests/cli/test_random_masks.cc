// Random masks and the rate that a MAC ratio needs, against what runs report.
#include <gmock/gmock.h>

#include <algorithm>

#include "fixtures.h"
#include "lasnet/mask.h"
#include "random_masks.h"
#include "support/expect_error.h"

namespace lasnet::cli {
namespace {

constexpr MapSize kImage{75, 61};

TEST(RandomMasks, CountTheMacsThatARunReports) {
  const Model model = test::tiny_model();
  const NetworkGeometry geometry = network_geometry(model.spec, kImage);
  Random random(3);
  const MaskSet masks = random_masks(model.spec, geometry, 2, 0.4, random);
  Session session(model);
  const Trace trace = session.run(Tensor({2, 3, kImage.height, kImage.width}), {.force_masks = &masks}).trace;
  EXPECT_NEAR(macs_ratio(model.spec, geometry, masks, 2), trace.macs_ratio(), 1e-9);
  for (const BlockTrace& block : trace.blocks) EXPECT_EQ(block.mask, masks.at(block.name)) << block.name;
}

/// A run that had these masks.
Trace trace_of(const Model& model, const MaskSet& masks) {
  Trace trace;
  for (const BlockSpec& block : model.spec.blocks) {
    trace.blocks.emplace_back();
    trace.blocks.back().mask = masks.at(block.name);
  }
  return trace;
}

double squared_distance(const PatchGrid& grid, size_t patch) {
  const auto cols = static_cast<size_t>(grid.cols());
  const double y = (static_cast<double>(patch / cols) + 0.5) / static_cast<double>(grid.rows()) - 0.5;
  const double x = (static_cast<double>(patch % cols) + 0.5) / static_cast<double>(grid.cols()) - 0.5;
  return y * y + x * x;
}

TEST(ReplacedMasks, AreAsManyPatchesElsewhereOrAtTheCentre) {
  const Model model = test::tiny_model();
  const NetworkGeometry geometry = network_geometry(model.spec, {96, 64});
  Random random(3);
  const MaskSet own = random_masks(model.spec, geometry, 2, 0.4, random);
  const Trace trace = trace_of(model, own);
  const MaskSet moved = replaced_masks(model.spec, geometry, trace, Placement::random, random);
  const MaskSet centred = replaced_masks(model.spec, geometry, trace, Placement::centre, random);
  EXPECT_NE(moved, own);
  for (size_t b = 0; b < model.spec.blocks.size(); ++b) {
    const std::string& name = model.spec.blocks[b].name;
    const PatchGrid& grid = geometry.blocks[b].grid;
    const auto pixels = static_cast<size_t>(geometry.blocks[b].output.pixels());
    for (size_t image = 0; image < 2; ++image) {
      const auto patches = [&](const MaskSet& masks) {
        return patches_of_mask(grid, std::span(masks.at(name).data).subspan(image * pixels, pixels));
      };
      const auto expected = std::ranges::count(patches(own), 1);
      EXPECT_EQ(std::ranges::count(patches(moved), 1), expected) << name;
      const std::vector<uint8_t> centre = patches(centred);
      EXPECT_EQ(std::ranges::count(centre, 1), expected) << name;
      double farthest_in = 0, nearest_out = 1;
      for (size_t patch = 0; patch < centre.size(); ++patch) {
        const double distance = squared_distance(grid, patch);
        if (centre[patch] == 1) farthest_in = std::max(farthest_in, distance);
        if (centre[patch] == 0) nearest_out = std::min(nearest_out, distance);
      }
      EXPECT_LE(farthest_in, nearest_out) << name;
    }
  }
}

TEST(RandomMasks, AreActiveAtTheRate) {
  const Model model = test::tiny_model({1, 1, 1, 1});
  const NetworkGeometry geometry = network_geometry(model.spec, kImage);
  Random random(3);
  double active = 0, pixels = 0;
  for (const auto& [name, mask] : random_masks(model.spec, geometry, 8, 0.3, random)) {
    for (const uint8_t value : mask.data) active += value;
    pixels += static_cast<double>(mask.size());
  }
  EXPECT_NEAR(active / pixels, 0.3, 0.02);
}

TEST(RandomMasks, TheRateForAMacRatioGivesIt) {
  const ModelSpec spec = test::tiny_model().spec;
  const NetworkGeometry geometry = network_geometry(spec, kImage);
  constexpr int64_t kImages = 200;
  for (const double macs : {0.4, 0.7}) {
    Random random(9);
    const double rate = rate_for_macs(spec, geometry, macs, 5);
    EXPECT_NEAR(macs_ratio(spec, geometry, random_masks(spec, geometry, kImages, rate, random), kImages),
                macs, 0.03);
  }
}

TEST(RandomMasks, AnUnreachableMacRatioNamesTheRange) {
  const ModelSpec spec = test::tiny_model().spec;
  const NetworkGeometry geometry = network_geometry(spec, kImage);
  EXPECT_ERROR(rate_for_macs(spec, geometry, 0.001, 0), testing::HasSubstr("--rate"));
  EXPECT_ERROR(rate_for_macs(spec, geometry, 1.5, 0), testing::HasSubstr("MAC ratios from 0."));
}

}  // namespace
}  // namespace lasnet::cli
