// The exactness contract: the sparse engine and libtorch's masked dense network are the same function.
//
// Pairwise over the options by default; LASNET_TEST_FULL=1 runs the full product.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "exactness/pairwise.h"
#include "support/random_model.h"
#include "train/oracle.h"

namespace lasnet {
namespace {

struct Architecture {
  const char* name;
  SePool se_pool = SePool::active;
};

const Architecture kArchitectures[] = {
    {"resnet18"},
    {"resnet50"},
    {"resnet101"},
    {"regnet_y_400mf"},
    {"regnet_y_400mf", SePool::dense},
    {"regnet_y_800mf"},
    {"regnet_y_1_6gf"},
    {"resnext50_32x4d"},
};
const char* const kGranularities[] = {"1-1-1-1", "4-4-2-1", "8-4-7-1", "3-5-2-9"};
const MapSize kSizes[] = {{224, 224}, {160, 224}, {97, 131}};
const int64_t kBatches[] = {1, 3};
constexpr int kThreadCounts = 3;

/// Bound on float rounding through a network, relative to the largest logit.
constexpr double kLogitTolerance = 1e-4;
/// A logit difference this close to 0, relative to the block's largest, may round to either side.
constexpr double kDecisionTolerance = 1e-4;

struct Options {
  Architecture architecture;
  std::string granularity;
  MapSize size;
  int64_t batch;
  Isa isa;
  int threads;
};

Options options_of(const test::Combination& c) {
  return {kArchitectures[c[0]], kGranularities[c[1]],   kSizes[c[2]],
          kBatches[c[3]],       available_isas()[c[4]], c[5] + 1};
}

std::vector<test::Combination> combinations() {
  std::vector<int> counts = {static_cast<int>(std::size(kArchitectures)),
                             4,
                             3,
                             2,
                             static_cast<int>(available_isas().size()),
                             kThreadCounts};
  return std::getenv("LASNET_TEST_FULL") != nullptr ? test::full_product(counts) : test::pairwise(counts);
}

std::string name_of(const testing::TestParamInfo<test::Combination>& info) {
  Options o = options_of(info.param);
  std::string granularity = o.granularity;
  std::erase(granularity, '-');
  std::string pool = o.architecture.se_pool == SePool::dense ? "_sedense" : "";
  return o.architecture.name + pool + "_S" + granularity + "_" + std::to_string(o.size.height) + "x" +
         std::to_string(o.size.width) + "_n" + std::to_string(o.batch) + "_" + to_string(o.isa) + "_t" +
         std::to_string(o.threads);
}

/// Oracle's answers, computed once per network and input.
struct Expected {
  Model model;
  Tensor input;
  OracleResult dynamic, dense;
  MaskSet masks;
};

const Expected& expected_for(const Options& o) {
  static std::map<std::string, Expected> cache;
  std::string key = o.architecture.name + to_string(o.architecture.se_pool) + o.granularity +
                    std::to_string(o.size.height) + std::to_string(o.batch);
  auto found = cache.find(key);
  if (found != cache.end()) return found->second;
  cache.clear();  // combinations come in order; a ResNet-101 is large
  ArchConfig arch;
  arch.name = o.architecture.name;
  arch.se_pool = o.architecture.se_pool;
  arch.classes = 100;
  arch.granularity = parse_granularity(o.granularity);
  Expected expected;
  expected.model = test::random_model(arch, 31);
  expected.input = test::random_input(o.batch, o.size, 32);
  expected.dynamic = masked_dense_forward(expected.model, expected.input, {.threads = 2});
  expected.dense = masked_dense_forward(expected.model, expected.input, {.dense = true, .threads = 2});
  for (const OracleBlock& block : expected.dynamic.blocks) expected.masks[block.name] = block.mask;
  return cache[key] = std::move(expected);
}

/// The oracle's masks and differences as a trace, block by block.
Trace trace_of(const OracleResult& oracle) {
  Trace trace;
  for (const OracleBlock& block : oracle.blocks) {
    BlockTrace entry;
    entry.name = block.name;
    entry.mask = block.mask;
    entry.logit_difference = block.logit_difference;
    trace.blocks.push_back(std::move(entry));
  }
  return trace;
}

class Exactness : public testing::TestWithParam<test::Combination> {};

TEST_P(Exactness, EngineEqualsMaskedDenseNetwork) {
  Options o = options_of(GetParam());
  const Expected& expected = expected_for(o);
  Session session(expected.model, {.isa = o.isa, .threads = o.threads});
  Result got = session.run(expected.input, {.force_masks = &expected.masks});
  EXPECT_EQ(test::count_wrong_decisions(got.trace, trace_of(expected.dynamic), kDecisionTolerance), 0);
  EXPECT_LE(test::relative_error(got.logits, expected.dynamic.logits), kLogitTolerance);
  for (int64_t n = 0; n < o.batch; ++n) {
    double ratio = got.trace.image_macs[n] / static_cast<double>(got.trace.static_macs);
    EXPECT_NEAR(ratio, expected.dynamic.macs_ratios[n], 1e-5);
  }
  Result dense = session.run(expected.input, {.dense = true});
  EXPECT_LE(test::relative_error(dense.logits, expected.dense.logits), kLogitTolerance);
}

INSTANTIATE_TEST_SUITE_P(Networks, Exactness, testing::ValuesIn(combinations()), name_of);

TEST(Pairwise, EveryPairMeets) {
  std::vector<test::Combination> chosen = test::pairwise({3, 4, 3, 2, 3, 3});
  EXPECT_LT(chosen.size(), 24u);
  for (size_t a = 0; a < 6; ++a) {
    for (size_t b = a + 1; b < 6; ++b) {
      std::set<std::pair<int, int>> met;
      for (const test::Combination& c : chosen) met.emplace(c[a], c[b]);
      std::vector<int> counts = {3, 4, 3, 2, 3, 3};
      EXPECT_EQ(met.size(), static_cast<size_t>(counts[a] * counts[b]));
    }
  }
}

}  // namespace
}  // namespace lasnet
