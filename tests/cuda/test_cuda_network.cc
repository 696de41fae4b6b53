// Whole networks on the emulated device against the CPU backend: every mask pattern, schedule and precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda_emulation.h"
#include "engine/cuda_executable.h"
#include "lasnet/error.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::MaskPattern;

ArchConfig config(const std::string& name, const std::string& granularity, double width = 0.125) {
  ArchConfig arch;
  arch.name = name.substr(0, name.find(':'));
  if (name.find(':') != std::string::npos) arch.se_pool = parse_se_pool(name.substr(name.find(':') + 1));
  arch.width = width;
  arch.classes = 10;
  arch.granularity = parse_granularity(granularity);
  return arch;
}

/// Rounding through a whole network relative to the largest logit, by the precision of products.
double tolerance(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return 1e-4;
    case Precision::tf32:
    case Precision::fp16:
      return 1e-2;
    case Precision::bf16:
      return 8e-2;
  }
  return 0;
}

struct NetworkCase {
  const char* architecture;
  const char* granularity;
  MapSize size;
  int64_t images;
  Precision precision;
};

class CudaNetworks : public testing::TestWithParam<NetworkCase> {};

TEST_P(CudaNetworks, SameMasksAndLogitsAsTheCpu) {
  const NetworkCase& c = GetParam();
  Model model = test::random_model(config(c.architecture, c.granularity), 1);
  Tensor x = test::random_input(c.images, c.size, 2);
  Result expected = Session(model).run(x);
  MaskSet masks = test::masks_of(expected.trace);
  Session session(model, {.backend = Backend::cuda, .precision = c.precision});
  Result got = session.run(x, {.force_masks = &masks});
  EXPECT_LE(test::relative_error(got.logits, expected.logits), tolerance(c.precision));
  EXPECT_EQ(test::count_wrong_decisions(got.trace, expected.trace, tolerance(c.precision)), 0);
  EXPECT_EQ(got.trace.image_macs, expected.trace.image_macs);
  for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
    EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
    EXPECT_EQ(got.trace.blocks[b].dilated_rate, expected.trace.blocks[b].dilated_rate);
  }
  Result dense = session.run(x, {.dense = true});
  EXPECT_LE(test::relative_error(dense.logits, Session(model).run(x, {.dense = true}).logits),
            tolerance(c.precision));
}

INSTANTIATE_TEST_SUITE_P(
    Emulated, CudaNetworks,
    testing::Values(NetworkCase{"resnet18", "4-4-2-1", {64, 64}, 1, Precision::fp32},
                    NetworkCase{"resnet18", "3-5-2-9", {65, 47}, 3, Precision::fp32},
                    NetworkCase{"resnet50", "1-1-1-1", {32, 64}, 2, Precision::fp32},
                    NetworkCase{"resnet50", "8-4-7-1", {49, 67}, 1, Precision::fp32},
                    NetworkCase{"resnet34", "static", {33, 47}, 2, Precision::fp32},
                    NetworkCase{"regnet_y_400mf", "4-4-2-1", {64, 32}, 3, Precision::fp32},
                    NetworkCase{"regnet_y_400mf:dense", "3-5-2-9", {49, 67}, 3, Precision::fp32},
                    NetworkCase{"resnext50_32x4d", "4-4-2-1", {64, 48}, 2, Precision::fp32},
                    NetworkCase{"resnet50", "4-4-2-1", {49, 67}, 2, Precision::tf32},
                    NetworkCase{"resnet50", "4-4-2-1", {49, 67}, 2, Precision::fp16},
                    NetworkCase{"resnet18", "4-4-2-1", {64, 48}, 2, Precision::fp16},
                    NetworkCase{"regnet_y_400mf", "4-4-2-1", {64, 48}, 2, Precision::fp16},
                    NetworkCase{"resnet50", "4-4-2-1", {49, 67}, 2, Precision::bf16}));

TEST(CudaNetwork, EveryMaskPatternAgreesWithTheCpu) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(config(name, "4-3-2-1"), 9);
    MapSize size{48, 64};
    Tensor x = test::random_input(2, size, 10);
    Session session(model, {.backend = Backend::cuda}), cpu(model);
    for (MaskPattern pattern : {MaskPattern::empty, MaskPattern::full, MaskPattern::single,
                                MaskPattern::border, MaskPattern::random}) {
      MaskSet masks = test::make_masks(model.spec, 2, size, pattern, 11);
      RunOptions options{.force_masks = &masks};
      EXPECT_LE(test::relative_error(session.run(x, options).logits, cpu.run(x, options).logits), 1e-4)
          << name << " " << static_cast<int>(pattern);
    }
  }
}

}  // namespace
}  // namespace lasnet
