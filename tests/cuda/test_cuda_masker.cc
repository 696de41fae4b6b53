// Maskers on the emulated device: one against plain loops, several in one pass against each alone.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/reference/kernels.h"
#include "kernel_operands.h"

namespace lasnet::cuda {
namespace {

struct MaskerRun {
  Tensor differences;
  std::vector<uint8_t> patches, forced;
  std::vector<float> weight;
  DecisionRule rule;
  MaskerCall call;

  MaskerRun(const ListGeometry& g, const Map& map, const Tensor& w, const Tensor& bias)
      : differences({g.images, g.patch_rows, g.patch_cols}),
        patches(g.images * g.patches(), 9),
        forced(patches.size(), 0) {
    weight.resize((map.channels + 63) / 32 * 32);
    for (int c = 0; c < map.channels; ++c) weight[c] = w.data[c] - w.data[map.channels + c];
    call = {g,
            map.device(),
            {weight.data(), bias.data[0] - bias.data[1], forced.data(), &rule, differences.data.data(),
             patches.data()}};
  }
};

/// Of a map of 2 x 11 x 14 pixels.
ListGeometry masker_geometry(int stride, int granularity) {
  return list_geometry(2, {11, 14}, stride, stride, granularity);
}

TEST(CudaMasker, AgreesWithTheReference) {
  Random random(5);
  for (Precision precision : kPrecisions) {
    for (int stride : {1, 2}) {
      for (int granularity : {1, 2, 3, 4, 20}) {
        for (int channels : {8, 24, 136, 600}) {
          Map map(random_tensor({2, 11, 14, channels}, random), precision);
          ListGeometry g = masker_geometry(stride, granularity);
          PatchGrid grid{{g.output_height, g.output_width}, granularity};
          Tensor weight = random_tensor({2, channels, 1, 1}, random), bias = random_tensor({2}, random);
          Tensor expected = reference::masker_differences(map.tensor(), grid, stride, weight, bias);
          MaskerRun run(g, map, weight, bias);
          Stream stream;
          masker(stream, precision, run.call);
          for (int64_t i = 0; i < expected.size(); ++i) {
            ASSERT_NEAR(run.differences.data[i], expected.data[i], 2e-4);
            ASSERT_EQ(run.patches[i], run.differences.data[i] >= 0);
          }
          run.rule.threshold = 0.5f;
          masker(stream, precision, run.call);
          for (int64_t i = 0; i < expected.size(); ++i)
            ASSERT_EQ(run.patches[i], run.differences.data[i] >= 0.5f);
          run.rule.force = 1;
          masker(stream, precision, run.call);
          EXPECT_EQ(run.patches, run.forced);
        }
      }
    }
  }
}

/// Maskers that differ, over one map.
std::vector<MaskerRun> several_maskers(int count, const ListGeometry& g, const Map& map, Random& random) {
  std::vector<MaskerRun> runs;
  for (int m = 0; m < count; ++m) {
    runs.emplace_back(g, map, random_tensor({2, map.channels, 1, 1}, random), random_tensor({2}, random));
  }
  for (MaskerRun& run : runs) {  // where they are now
    run.call.target.forced = run.forced.data(), run.call.target.rule = &run.rule;
    run.call.target.weight = run.weight.data(), run.call.target.patches = run.patches.data();
    run.call.target.differences = run.differences.data.data();
  }
  return runs;
}

MaskerGroupCall group_of(const std::vector<MaskerRun>& runs) {
  MaskerGroupCall call;
  call.geometry = runs.front().call.geometry;
  call.x = runs.front().call.x;
  for (const MaskerRun& run : runs) call.targets[call.count++] = run.call.target;
  return call;
}

TEST(CudaMaskerGroup, HasTheBitsOfEachMaskerAlone) {
  Random random(15);
  for (Precision precision : {Precision::fp32, Precision::fp16, Precision::bf16}) {
    for (auto [stride, granularity] : {std::pair{1, 1}, {1, 2}, {2, 2}, {1, 3}, {1, 4}, {2, 7}, {1, 20}}) {
      for (int channels : {8, 136, 600, 1032}) {
        for (int count : {2, 9, 20, kMaxMaskers}) {
          if (count > 2 && (channels != 600 || granularity > 3)) continue;
          Map map(random_tensor({2, 11, 14, channels}, random), precision);
          std::vector<MaskerRun> runs =
              several_maskers(count, masker_geometry(stride, granularity), map, random);
          for (MaskerRun& run : runs) run.rule.threshold = static_cast<float>(random.uniform(-1, 1));
          WithSettings settings(kSettings[granularity % 2]);
          Stream stream;
          masker_group(stream, precision, group_of(runs));
          for (MaskerRun& run : runs) {
            Tensor differences = run.differences;
            std::vector<uint8_t> patches = run.patches;
            masker(stream, precision, run.call);
            EXPECT_EQ(differences, run.differences);
            EXPECT_EQ(patches, run.patches);
          }
          for (MaskerRun& run : runs) {  // the opposite, of the first only
            for (size_t p = 0; p < run.forced.size(); ++p) run.forced[p] = run.patches[p] == 0;
          }
          runs.front().rule.force = 1;
          std::vector<uint8_t> others = runs.back().patches;
          masker_group(stream, precision, group_of(runs));
          EXPECT_EQ(runs.front().patches, runs.front().forced);
          EXPECT_EQ(runs.back().patches, others);
        }
      }
    }
  }
}

TEST(CudaMaskerGroup, DecidesAboutListedPatchesOnly) {
  Random random(16);
  for (auto [stride, granularity] : {std::pair{1, 1}, {2, 2}, {1, 4}, {1, 6}}) {
    ListGeometry g = masker_geometry(stride, granularity);
    Map map(random_tensor({2, 11, 14, 40}, random), Precision::fp32);
    std::vector<MaskerRun> runs = several_maskers(3, g, map, random);
    for (double rate : {0.0, 0.2, 0.6, 1.0}) {
      std::vector<int32_t> listed;
      for (int32_t p = 0; p < 2 * g.patches(); ++p) {
        if (random.uniform() < rate) listed.push_back(p);
      }
      const auto count = static_cast<int32_t>(listed.size());
      listed.resize(static_cast<size_t>(2 * g.patches()), -1);
      for (MaskerRun& run : runs) {
        std::fill(run.differences.data.begin(), run.differences.data.end(), -7.0f);
        std::fill(run.patches.begin(), run.patches.end(), uint8_t{9});
      }
      MaskerGroupCall call = group_of(runs);
      call.listed = listed.data(), call.listed_count = &count;
      Stream stream;
      masker_group(stream, Precision::fp32, call);
      for (MaskerRun& run : runs) {
        Tensor differences = run.differences;
        masker(stream, Precision::fp32, run.call);
        for (int32_t p = 0; p < 2 * g.patches(); ++p) {
          bool wanted = std::find(listed.begin(), listed.begin() + count, p) != listed.begin() + count;
          EXPECT_EQ(differences.data[p], wanted ? run.differences.data[p] : -7.0f) << p;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lasnet::cuda
