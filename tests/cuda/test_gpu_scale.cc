// Networks as large as users run them, on a real device against the CPU: blocks of threads of several teams,
// teams with several tiles, lists of more chunks than look back at once. The emulated device is too slow.
#include <gtest/gtest.h>

#include "lasnet/engine.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using test::MaskPattern;

class GpuScale : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices().empty()) GTEST_SKIP() << "no CUDA device: " << cuda_unavailable_reason();
  }
};

constexpr MapSize kSize{224, 224};

Session session_of(const Model& model, Precision precision, MaskerSchedule masker) {
  NetworkSchedule plan = uniform_schedule(model.spec, {.masker = masker});
  return Session(make_executable(model, Backend::cuda, std::nullopt, plan, precision), 1);
}

struct ScaleCase {
  const char* architecture;
  double width;
  int64_t images;
};

void expect_same_as_cpu(const ScaleCase& c, Precision precision, MaskerSchedule masker) {
  SCOPED_TRACE(std::string(c.architecture) + " " + to_string(precision) + " masker " + to_string(masker));
  Model model = test::random_model(test::narrow_arch(c.architecture, "4-4-2-1", c.width), 1);
  Tensor x = test::random_input(c.images, kSize, 2);
  const double tolerance = test::logits_tolerance(precision);
  Session session = session_of(model, precision, masker), cpu(model);
  for (MaskPattern pattern : {MaskPattern::random, MaskPattern::border}) {
    MaskSet masks = test::make_masks(model.spec, c.images, kSize, pattern, 3);
    Result got = session.run(x, {.force_masks = &masks}), expected = cpu.run(x, {.force_masks = &masks});
    EXPECT_LE(test::relative_error(got.logits, expected.logits), tolerance);
    EXPECT_EQ(got.trace.image_macs, expected.trace.image_macs);
    EXPECT_EQ(test::count_wrong_decisions(got.trace, expected.trace, tolerance), 0);
    for (int repeat = 0; repeat < 10; ++repeat)
      EXPECT_EQ(session.run(x, {.force_masks = &masks}).logits, got.logits) << "a race";
  }
  EXPECT_LE(test::relative_error(session.run(x, {.dense = true}).logits, cpu.run(x, {.dense = true}).logits),
            tolerance);
}

TEST_F(GpuScale, SeveralTeamsAndTiles) {
  for (MaskerSchedule masker :
       {MaskerSchedule::separate, MaskerSchedule::incremental, MaskerSchedule::with_conv1}) {
    expect_same_as_cpu({"resnet50", 1.0, 8}, Precision::fp32, masker);
    expect_same_as_cpu({"resnet50", 1.0, 8}, Precision::fp16, masker);
  }
}

TEST_F(GpuScale, ManyChunksOfLists) {
  for (MaskerSchedule masker : {MaskerSchedule::separate, MaskerSchedule::incremental}) {
    expect_same_as_cpu({"resnet18", 0.25, 96}, Precision::fp32, masker);
    expect_same_as_cpu({"resnet18", 0.25, 96}, Precision::bf16, masker);
  }
}

}  // namespace
}  // namespace lasnet
