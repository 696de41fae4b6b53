// Checkpoints with LAUDNet's names against logits of its masked dense function, written anew in PyTorch
// (data/, made by make_fixtures.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/npy.h"
#include "laudnet/networks.h"
#include "support/expect_error.h"
#include "support/pth_writer.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string write_checkpoint(const TemporaryDir& dir, const Weights& weights) {
  Weights parallel;  // as DataParallel names them
  for (const auto& [name, tensor] : weights) parallel["module." + name] = tensor;
  const std::string path = dir / "checkpoint.pth";
  write_text(path, make_checkpoint({{"state_dict", parallel}}));
  return path;
}

Tensor fixture(const std::string& name) {
  return load_npy_f32(std::string(LAUDNET_DATA) + "/" + name + ".npy");
}

class Laudnet : public testing::TestWithParam<LaudnetCase> {};

TEST_P(Laudnet, CheckpointGivesTheSameLogits) {
  const LaudnetCase& c = GetParam();
  Model written = laudnet_model(c);
  set_biases(written, fixture(c.name + std::string("_biases")));
  const TemporaryDir dir;
  const Model read = load_model(write_checkpoint(dir, laudnet_weights(written)), written.spec.arch);
  EXPECT_EQ(read.weights, written.weights);
  EXPECT_EQ(read.origin.stored_maskers, static_cast<int>(written.spec.blocks.size()));
  EXPECT_EQ(read.origin.fresh_maskers, 0);
  const Result result = Session(read, {.threads = 2}).run(laudnet_input());
  EXPECT_LE(relative_error(result.logits, fixture(c.name)), 1e-4);
  for (const BlockTrace& block : result.trace.blocks) {
    EXPECT_GT(block.rate, 0.2) << block.name;
    EXPECT_LT(block.rate, 0.8) << block.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Laudnet, testing::ValuesIn(kLaudnetCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(LaudnetNames, MaskersOfChannelsAreRefusedWithTheReason) {
  const Model model = laudnet_model(kLaudnetCases[0]);
  Weights weights = laudnet_weights(model);
  weights["layer2.1.masker_channel.conv.0.weight"] = Tensor({16, 512});
  const TemporaryDir dir;
  const std::string path = write_checkpoint(dir, weights);
  for (const char* granularity : {"4-4-2-1", "static"}) {
    ArchConfig arch = model.spec.arch;
    arch.granularity = parse_granularity(granularity);
    EXPECT_ERROR(load_model(path, arch), AllOf(HasSubstr("layer2.1.masker_channel.conv.0.weight"),
                                               HasSubstr("not channels"), HasSubstr("spatial or layer")));
  }
}

TEST(LaudnetNames, AMaskerUnderBothNamesIsRefused) {
  const Model model = laudnet_model(kLaudnetCases[0]);
  Weights weights = laudnet_weights(model);
  weights["layer1.0.masker.conv2.bias"] = Tensor({2});
  const TemporaryDir dir;
  EXPECT_ERROR(load_model(write_checkpoint(dir, weights), model.spec.arch),
               AllOf(HasSubstr("occurs twice"), HasSubstr("masker_spatial")));
}

TEST(LaudnetNames, MasksOfSeveralChannelGroupsDoNotFit) {
  const Model model = laudnet_model(kLaudnetCases[0]);
  Weights weights = laudnet_weights(model);
  weights["layer1.0.masker_spatial.conv.weight"] = Tensor({8, 64, 1, 1});
  const TemporaryDir dir;
  EXPECT_ERROR(load_model(write_checkpoint(dir, weights), model.spec.arch),
               AllOf(HasSubstr("layer1.0.masker.conv2.weight"), HasSubstr("expected [2, 64, 1, 1]")));
}

}  // namespace
}  // namespace lasnet::test
