#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "object_auc.h"

namespace lasnet::cli {
namespace {

TEST(ObjectAuc, EqualsThePairwiseDefinition) {
  constexpr int kBlocks = 5;
  Random random(3);
  std::vector<float> density;
  std::vector<uint8_t> object;
  for (int i = 0; i < 200; ++i) {
    object.push_back(random.below(3) == 0);
    density.push_back(static_cast<float>(random.below(object.back() ? kBlocks + 1 : kBlocks)) / kBlocks);
  }
  double wins = 0, pairs = 0;
  for (size_t a = 0; a < density.size(); ++a) {
    for (size_t b = 0; b < density.size(); ++b) {
      if (object[a] == 0 || object[b] != 0) continue;
      wins += density[a] > density[b] ? 1 : density[a] == density[b] ? 0.5 : 0;
      ++pairs;
    }
  }
  ObjectAuc auc(kBlocks);
  auc.add(density, object);
  EXPECT_NEAR(auc.pooled(), wins / pairs, 1e-12);
  EXPECT_NEAR(auc.mean_per_image(), wins / pairs, 1e-12);
}

TEST(ObjectAuc, PoolsPixelsOfAllImages) {
  ObjectAuc auc(1);
  auc.add({1, 0}, {1, 0});  // separated: 1
  auc.add({0, 1}, {1, 0});  // the wrong way round: 0
  EXPECT_DOUBLE_EQ(auc.mean_per_image(), 0.5);
  EXPECT_DOUBLE_EQ(auc.pooled(), 0.5);
  auc.add({1, 1}, {1, 1});  // no background: counts for the pool alone
  EXPECT_DOUBLE_EQ(auc.mean_per_image(), 0.5);
  EXPECT_DOUBLE_EQ(auc.pooled(), 5.0 / 8);
}

TEST(ObjectAuc, IsUndefinedWithoutObjectOrBackground) {
  ObjectAuc auc(2);
  EXPECT_TRUE(std::isnan(auc.pooled()));
  auc.add({1, 0.5f}, {0, 0});
  EXPECT_TRUE(std::isnan(auc.pooled()));
  EXPECT_TRUE(std::isnan(auc.mean_per_image()));
}

}  // namespace
}  // namespace lasnet::cli
