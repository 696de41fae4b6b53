// Random masks and the rate that a MAC ratio needs, against what runs report.
#include <gmock/gmock.h>

#include "fixtures.h"
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
