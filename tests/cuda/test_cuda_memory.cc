// Device memory of the cuda backend, on the emulated device: what is shared, kept and given up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda_emulation.h"
#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "support/random_model.h"

namespace lasnet {
namespace {

using cuda::emulation::memory_taken;

/// Restores the device's memory.
struct WithMemory {
  explicit WithMemory(int64_t bytes) { cuda::emulation::settings().memory_bytes = bytes; }
  ~WithMemory() { cuda::emulation::settings() = {}; }
};

Model small_model() { return test::random_model(test::narrow_arch("resnet18", "4-4-2-1", 0.125), 1); }

Tensor images_of(int64_t side) { return test::random_input(1, {side, side}, 2); }

TEST(CudaMemory, KeptSizesAreGivenUpWhereThereIsTooLittle) {
  Model model = small_model();
  Session roomy(model, {.backend = Backend::cuda});
  std::vector<Tensor> expected;
  for (int64_t side : {64, 72, 80}) expected.push_back(roomy.run(images_of(side)).logits);
  const int64_t before = memory_taken();
  Session session(model, {.backend = Backend::cuda});
  session.run(images_of(80));
  WithMemory memory(memory_taken());  // as much as the largest needs
  for (int repeat = 0; repeat < 2; ++repeat) {
    size_t i = 0;
    for (int64_t side : {64, 72, 80}) EXPECT_EQ(session.run(images_of(side)).logits, expected[i++]);
  }
  EXPECT_THAT(
      [&] {
        session.run(test::random_input(8, {80, 80}, 2));
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("a batch of 8 images of 80 x 80")));
  EXPECT_GT(memory_taken(), before) << "the weights stay";
}

TEST(CudaMemory, BlocksShareABufferForGatheredPatches) {
  Model model = small_model();
  auto taken_by = [&](GatherSchedule gather) {
    const int64_t before = memory_taken();
    NetworkSchedule plan = uniform_schedule(model.spec, {.gather = gather});
    Session session(make_executable(model, Backend::cuda, std::nullopt, plan, Precision::fp32), 1);
    session.run(images_of(64));
    return memory_taken() - before;
  };
  // Stage 1's patches of the middle map, 4 x 4 with a halo, 8 channels; and a place for each pixel.
  const int64_t gathered = 16 * 36 * 8 * 4 + 256 * 4;
  EXPECT_EQ(taken_by(GatherSchedule::copied) - taken_by(GatherSchedule::indirect), gathered);
}

}  // namespace
}  // namespace lasnet
