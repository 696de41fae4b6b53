// Sessions: the fast engine against the reference, and the invariants of dynamic networks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <thread>

#include "backends/cpu/executable.h"
#include "backends/cpu/kernels/kernels.h"
#include "lasnet/error.h"
#include "lasnet/geometry.h"
#include "network_case.h"
#include "support/expect_error.h"
#include "support/param_name.h"
#include "support/random_model.h"
#include "support/sanitized.h"

namespace lasnet {
namespace {

using test::MaskPattern;
using test::narrow_arch;

const double kTolerance = test::logits_tolerance(Precision::fp32);

class AgainstReference : public testing::TestWithParam<NetworkCase> {};

TEST_P(AgainstReference, SameMasksAndLogits) {
  const NetworkCase& c = GetParam();
  Model model = test::random_model(narrow_arch(c.architecture, c.granularity), 1);
  Tensor x = test::random_input(c.images, c.size, 2);
  Result expected = Session(model, {.backend = Backend::reference}).run(x);
  MaskSet masks = test::masks_of(expected.trace);
  for (Isa isa : available_isas()) {
    Session session(model, {.isa = isa, .threads = c.threads});
    Result got = session.run(x, {.force_masks = &masks});
    EXPECT_LE(test::relative_error(got.logits, expected.logits), kTolerance) << to_string(isa);
    EXPECT_EQ(test::count_wrong_decisions(got.trace, expected.trace, 1e-4), 0) << to_string(isa);
    EXPECT_NEAR(got.trace.macs, expected.trace.macs, 1e-6 * expected.trace.macs);
    for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
      EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
      EXPECT_NEAR(got.trace.blocks[b].dilated_rate, expected.trace.blocks[b].dilated_rate, 1e-12);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, AgainstReference,
                         testing::Values(NetworkCase{"resnet18", "4-4-2-1", {64, 64}, 1, 1},
                                         NetworkCase{"resnet18", "3-5-2-9", {97, 131}, 3, 2},
                                         NetworkCase{"resnet50", "1-1-1-1", {64, 96}, 2, 3},
                                         NetworkCase{"resnet50", "8-4-7-1", {97, 67}, 1, 2},
                                         NetworkCase{"resnet34", "static", {33, 47}, 2, 1},
                                         NetworkCase{"regnet_y_400mf", "4-4-2-1", {64, 96}, 3, 2},
                                         NetworkCase{"regnet_y_400mf:dense", "3-5-2-9", {97, 67}, 3, 3},
                                         NetworkCase{"regnet_y_800mf", "1-1-1-1", {64, 64}, 1, 2},
                                         NetworkCase{"regnet_y_1_6gf", "static", {33, 47}, 2, 1},
                                         NetworkCase{"resnext50_32x4d", "4-4-2-1", {64, 48}, 2, 2},
                                         NetworkCase{"resnet50", "layer", {97, 67}, 5, 2},
                                         NetworkCase{"resnet18", "4-layer-2-layer", {64, 96}, 3, 1},
                                         NetworkCase{"regnet_y_400mf", "layer", {64, 96}, 4, 2}),
                         test::ParamName());

/// Test masks must exercise something: mixed decisions in most blocks.
TEST(RandomModel, MasksAreMixed) {
  Model model = test::random_model(narrow_arch("resnet50", "1-1-1-1"), 1);
  Result result = Session(model).run(test::random_input(2, {64, 96}, 2));
  int mixed = 0;
  for (const BlockTrace& block : result.trace.blocks) mixed += block.rate > 0.05 && block.rate < 0.95;
  EXPECT_GE(mixed, 8);
}

class EveryIsa : public testing::TestWithParam<Isa> {};

TEST_P(EveryIsa, FullMaskIsTheStaticNetworkBitForBit) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "3-5-2-9"), 3);
    Tensor x = test::random_input(2, {65, 96}, 4);
    MaskSet full = test::make_masks(model.spec, 2, {65, 96}, MaskPattern::full, 5);
    Session session(model, {.isa = GetParam()});
    Result masked = session.run(x, {.force_masks = &full});
    EXPECT_EQ(masked.logits, session.run(x, {.dense = true}).logits);
    Model static_model = model;
    static_model.spec.arch.granularity = {};
    static_model.spec = make_spec(static_model.spec.arch);
    for (const BlockSpec& block : model.spec.blocks) {
      static_model.weights.erase(block.masker_name() + ".weight");
      static_model.weights.erase(block.masker_name() + ".bias");
    }
    EXPECT_EQ(masked.logits, Session(static_model, {.isa = GetParam()}).run(x).logits);
    EXPECT_DOUBLE_EQ(session.run(x, {.dense = true}).trace.macs_ratio(), 1.0);
  }
}

/// A network whose identity blocks are skipped by empty masks equals the network without these blocks.
TEST_P(EveryIsa, EmptyMaskIsTheIdentityBitForBit) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "4-4-2-1"), 6);
    Tensor x = test::random_input(3, {64, 64}, 7);
    MaskSet masks = test::make_masks(model.spec, 3, {64, 64}, MaskPattern::random, 8);
    Model shorter = model;
    std::erase_if(shorter.spec.blocks, [](const BlockSpec& block) { return !block.projection; });
    MaskSet kept;
    for (const BlockSpec& block : model.spec.blocks) {
      ByteTensor& mask = masks.at(block.name);
      if (block.projection) {
        kept[block.name] = mask;
        continue;
      }
      std::fill(mask.data.begin(), mask.data.end(), uint8_t{0});
      for (const TensorSpec& tensor : required_tensors(model.spec)) {
        if (tensor.name.starts_with(block.name + ".")) shorter.weights.erase(tensor.name);
      }
    }
    Result with = Session(model, {.isa = GetParam()}).run(x, {.force_masks = &masks});
    Result without = Session(shorter, {.isa = GetParam()}).run(x, {.force_masks = &kept});
    EXPECT_EQ(with.logits, without.logits);
  }
}

TEST_P(EveryIsa, EveryMaskPatternAgreesWithTheReference) {
  for (const char* name : {"resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "4-3-2-1"), 9);
    Tensor x = test::random_input(2, {64, 80}, 10);
    Session session(model, {.isa = GetParam(), .threads = 2});
    Session reference(model, {.backend = Backend::reference});
    for (MaskPattern pattern : {MaskPattern::empty, MaskPattern::full, MaskPattern::single,
                                MaskPattern::border, MaskPattern::random}) {
      MaskSet masks = test::make_masks(model.spec, 2, {64, 80}, pattern, 11);
      Result expected = reference.run(x, {.force_masks = &masks});
      Result got = session.run(x, {.force_masks = &masks});
      EXPECT_LE(test::relative_error(got.logits, expected.logits), kTolerance)
          << name << " " << static_cast<int>(pattern);
    }
  }
}

/// Squeeze-and-Excitation averages per image: what one image computes does not touch the others, not even
/// when some have nothing to average.
TEST_P(EveryIsa, ImagesWithoutActivePixelsShareABatchWithOthers) {
  for (const char* name : {"regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "4-3-2-1"), 14);
    Tensor x = test::random_input(4, {64, 64}, 15);
    MaskSet masks = test::make_masks(model.spec, 4, {64, 64}, MaskPattern::random, 16);
    for (auto& [block, mask] : masks) {
      int64_t pixels = mask.size() / 4;
      for (int64_t empty : {0, 2}) std::fill_n(mask.data.begin() + empty * pixels, pixels, uint8_t{0});
    }
    Result expected = Session(model, {.backend = Backend::reference}).run(x, {.force_masks = &masks});
    Result got = Session(model, {.isa = GetParam(), .threads = 2}).run(x, {.force_masks = &masks});
    EXPECT_LE(test::relative_error(got.logits, expected.logits), kTolerance) << name;
    EXPECT_EQ(got.trace.image_macs, expected.trace.image_macs);
    EXPECT_LT(got.trace.image_macs[0], 0.5 * got.trace.image_macs[1]);
  }
}

TEST_P(EveryIsa, ResultsDoNotDependOnThreadsOrBatch) {
  for (const char* name : {"resnet18", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "4-4-2-1", 0.5), 12);
    Tensor x = test::random_input(3, {97, 64}, 13);
    Result one = Session(model, {.isa = GetParam(), .threads = 1}).run(x);
    for (int threads : {2, 3}) {
      EXPECT_EQ(Session(model, {.isa = GetParam(), .threads = threads}).run(x).logits, one.logits);
    }
    Session single(model, {.isa = GetParam()});
    int64_t pixels = x.size() / 3;
    for (int64_t n = 0; n < 3; ++n) {
      Tensor image({1, 3, 97, 64});
      std::copy_n(x.data.begin() + n * pixels, pixels, image.data.begin());
      Result result = single.run(image);
      EXPECT_TRUE(
          std::equal(result.logits.data.begin(), result.logits.data.end(), one.logits.data.begin() + n * 10));
      EXPECT_DOUBLE_EQ(result.trace.macs, one.trace.image_macs[n]);
    }
  }
}

/// Each block's threshold, and one for all, decide as the masks do that follow from the differences.
void expect_thresholds_decide(Session& session, const Tensor& x) {
  const Trace usual = session.run(x).trace;
  const std::vector<float> common = {usual.blocks[0].logit_difference.data.front()};
  for (const std::vector<float>& thresholds :
       {test::thresholds_for(usual, 0.3), test::thresholds_for(usual, 0.8), common}) {
    const Result decided = session.run(x, {.thresholds = thresholds});
    std::vector<float> spread = thresholds;
    spread.resize(session.spec().blocks.size(), thresholds.front());
    const MaskSet masks = test::masks_from(decided.trace, spread);
    EXPECT_EQ(test::masks_of(decided.trace), masks);
    EXPECT_NE(masks, test::masks_of(usual));
    const Result forced = session.run(x, {.force_masks = &masks});
    EXPECT_EQ(decided.logits, forced.logits);
    EXPECT_EQ(decided.trace.image_macs, forced.trace.image_macs);
  }
}

/// Beyond all differences: everything, or nothing. At 0: as without thresholds.
void expect_thresholds_have_ends(Session& session, const Tensor& x) {
  const Result everything = session.run(x, {.thresholds = {-INFINITY}});
  EXPECT_EQ(everything.logits, session.run(x, {.dense = true}).logits);
  const MapSize size{x.shape[2], x.shape[3]};
  const MaskSet empty = test::make_masks(session.spec(), x.shape[0], size, MaskPattern::empty, 0);
  const Result nothing = session.run(x, {.thresholds = {INFINITY}}),
               forced = session.run(x, {.force_masks = &empty});
  EXPECT_EQ(nothing.logits, forced.logits);
  EXPECT_EQ(nothing.trace.image_macs, forced.trace.image_macs);
  EXPECT_EQ(test::masks_of(nothing.trace), empty);
  EXPECT_EQ(session.run(x, {.thresholds = {0}}).logits, session.run(x).logits);
  EXPECT_EQ(session.run(x, {.dense = true, .thresholds = {INFINITY}}).logits, everything.logits);
}

TEST_P(EveryIsa, ThresholdsDecideAsTheMasksOfTheirDifferences) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "3-5-2-9"), 31);
    Tensor x = test::random_input(2, {65, 96}, 32);
    Session session(model, {.isa = GetParam(), .threads = 2});
    expect_thresholds_decide(session, x);
    expect_thresholds_have_ends(session, x);
  }
}

TEST_P(EveryIsa, ThresholdsDecideInDilatedStages) {
  ArchConfig arch = narrow_arch("resnet50", "3-5-2-9");
  arch.dilated_stages = 2;
  Session session(test::random_model(arch, 31), {.isa = GetParam(), .threads = 2});
  const Tensor x = test::random_input(2, {65, 96}, 32);
  expect_thresholds_decide(session, x);
  expect_thresholds_have_ends(session, x);
}

TEST_P(EveryIsa, ForcedInstructionSetRuns) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 14);
  std::vector<uint64_t> before;
  for (Isa isa : available_isas()) before.push_back(cpu_kernels(isa).conv_tasks());
  Session session(model, {.isa = GetParam()});
  EXPECT_EQ(session.isa(), GetParam());
  session.run(test::random_input(1, {32, 32}, 15));
  for (size_t i = 0; i < before.size(); ++i) {
    uint64_t ran = cpu_kernels(available_isas()[i]).conv_tasks() - before[i];
    if (available_isas()[i] == GetParam()) {
      EXPECT_GE(ran, 17u);  // stem, 8 blocks of 2, head: at least a task each
    } else {
      EXPECT_EQ(ran, 0u) << to_string(available_isas()[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, EveryIsa, testing::ValuesIn(available_isas()), test::ParamName());

TEST(Thresholds, DecideInTheReferenceToo) {
  for (const char* name : {"resnet18", "regnet_y_400mf:dense"}) {
    Model model = test::random_model(narrow_arch(name, "4-3-2-1"), 31);
    Session session(model, {.backend = Backend::reference});
    Tensor x = test::random_input(2, {33, 48}, 32);
    expect_thresholds_decide(session, x);
    expect_thresholds_have_ends(session, x);
  }
}

/// A block whose input stays the same computes a subset of its patches at a higher threshold. What follows it
/// sees another input and decides anew.
TEST(Thresholds, HigherOnesSelectFewerPatches) {
  Model model = test::random_model(narrow_arch("resnet50", "4-4-2-1"), 33);
  Tensor x = test::random_input(2, {64, 96}, 34);
  Session session(model);
  const Trace usual = session.run(x).trace;
  for (size_t b = 0; b < usual.blocks.size(); ++b) {
    std::vector<float> thresholds(usual.blocks.size());
    BlockTrace before;
    for (const float threshold : {-INFINITY, -1.0f, -0.1f, 0.0f, 0.1f, 1.0f, INFINITY}) {
      thresholds[b] = threshold;
      const BlockTrace block = session.run(x, {.thresholds = thresholds}).trace.blocks[b];
      EXPECT_EQ(block.logit_difference, usual.blocks[b].logit_difference);
      for (size_t i = 0; i < before.mask.data.size(); ++i)
        ASSERT_LE(block.mask.data[i], before.mask.data[i]) << block.name << " from " << threshold;
      if (!before.mask.data.empty()) {
        EXPECT_LE(block.macs, before.macs);
      }
      before = block;
    }
    EXPECT_EQ(before.rate, 0);
  }
}

TEST(Thresholds, AreOverruledByForcedMasks) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 35);
  Tensor x = test::random_input(1, {64, 64}, 36);
  const MaskSet masks = test::make_masks(model.spec, 1, {64, 64}, MaskPattern::random, 37);
  Session session(model);
  EXPECT_EQ(session.run(x, {.force_masks = &masks, .thresholds = {INFINITY}}).logits,
            session.run(x, {.force_masks = &masks}).logits);
}

TEST(Thresholds, OfStaticBlocksMeanNothing) {
  Model model = test::random_model(narrow_arch("resnet18", "static"), 38);
  Tensor x = test::random_input(1, {64, 64}, 39);
  Session session(model);
  EXPECT_EQ(session.run(x, {.thresholds = {INFINITY}}).logits, session.run(x).logits);
}

TEST(Thresholds, AreOnePerBlockOrOneForAll) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 20);
  Session session(model);
  Tensor x = test::random_input(1, {64, 64}, 21);
  EXPECT_ERROR(session.run(x, {.thresholds = {0, 1, 2}}),
               testing::HasSubstr("thresholds: 3 values; resnet18 has 8 blocks"));
  EXPECT_ERROR(session.run(x, {.thresholds = {NAN}}), testing::HasSubstr("thresholds[0]: NaN"));
  std::vector<float> thresholds(8);
  thresholds[5] = NAN;
  EXPECT_ERROR(session.run(x, {.thresholds = thresholds}), testing::HasSubstr("thresholds[5]: NaN"));
  thresholds[5] = -INFINITY;
  EXPECT_NO_THROW(session.run(x, {.thresholds = thresholds}));
}

TEST(Session, IsReusableAcrossSizesAndModes) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 16);
  Session session(model, {.threads = 2});
  const MapSize sizes[] = {{64, 64}, {32, 96}, {64, 64}, {47, 61}, {96, 32}, {80, 80}, {33, 33}, {64, 64}};
  for (MapSize size : sizes) {
    for (int64_t images : {1, 2}) {
      Tensor x = test::random_input(images, size, 17);
      for (bool dense : {false, true, false}) {
        EXPECT_EQ(session.run(x, {.dense = dense}).logits, Session(model).run(x, {.dense = dense}).logits);
      }
    }
  }
}

/// Every combination of choices, as texts.
std::vector<std::string> all_schedules() {
  std::vector<std::string> schedules;
  for (const char* masker : {"separate", "incremental", "with_conv1"}) {
    for (const char* gather : {"indirect", "copied"}) {
      for (const char* scatter : {"in_place", "separate"}) {
        for (const char* traversal : {"whole_map", "row_bands"}) {
          for (const char* above : {"0", "0.97", "2"}) {
            schedules.push_back(std::string("masker=") + masker + ",gather=" + gather + ",scatter=" +
                                scatter + ",traversal=" + traversal + ",whole_map_above=" + above);
          }
        }
      }
    }
  }
  return schedules;
}

struct ScheduleCase {
  const char* architecture;
  const char* granularity;
  MapSize size;
  int64_t images;
};

std::ostream& operator<<(std::ostream& out, const ScheduleCase& c) {
  return out << c.architecture << ", S " << c.granularity << ", " << c.size.height << " x " << c.size.width;
}

class EverySchedule : public testing::TestWithParam<ScheduleCase> {};

/// The schedule is a choice of speed, not of result: the same bits for forced masks, full, empty and mixed.
TEST_P(EverySchedule, GivesTheSameBits) {
  const ScheduleCase& c = GetParam();
  Model model = test::random_model(narrow_arch(c.architecture, c.granularity), 24);
  Tensor x = test::random_input(c.images, c.size, 25);
  Session plain(model, {.schedule = parse_block_schedule("masker=separate,whole_map_above=2")});
  std::vector<MaskSet> masks;
  std::vector<Tensor> expected;
  for (MaskPattern pattern : {MaskPattern::random, MaskPattern::full, MaskPattern::empty}) {
    masks.push_back(test::make_masks(model.spec, c.images, c.size, pattern, 26));
    // Scatter-add fused with a projection sums both in one register: other rounding than a separate addition.
    expected.push_back(plain.run(x, {.force_masks = &masks.back()}).logits);
  }
  Tensor dense = plain.run(x, {.dense = true}).logits;
  Trace decided = plain.run(x).trace;
  std::vector<NetworkSchedule> tried;  // schedules that come to the same for these blocks run once
  for (const std::string& schedule : all_schedules()) {
    NetworkSchedule plan = uniform_schedule(model.spec, parse_block_schedule(schedule));
    if (std::find(tried.begin(), tried.end(), plan) != tried.end()) continue;
    tried.push_back(plan);
    bool sums_apart = plan.blocks[0].scatter == ScatterSchedule::separate;
    Session session(model,
                    {.threads = tried.size() % 2 == 0 ? 1 : 3, .schedule = parse_block_schedule(schedule)});
    for (size_t i = 0; i < masks.size(); ++i) {
      Tensor logits = session.run(x, {.force_masks = &masks[i]}).logits;
      if (sums_apart) {
        EXPECT_LE(test::relative_error(logits, expected[i]), 1e-5) << schedule << ", pattern " << i;
      } else {
        EXPECT_EQ(logits, expected[i]) << schedule << ", pattern " << i;
      }
    }
    if (!sums_apart) {
      EXPECT_EQ(session.run(x, {.dense = true}).logits, dense) << schedule;
    }
    expect_thresholds_decide(session, x);
    // The masker's own decisions, whose sums each schedule takes in its own order.
    MaskSet own = test::masks_of(decided);
    Trace trace = session.run(x, {.force_masks = &own}).trace;
    EXPECT_EQ(test::count_wrong_decisions(trace, decided, 1e-4), 0) << schedule;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, EverySchedule,
                         testing::Values(ScheduleCase{"resnet18", "4-3-2-1", {64, 80}, 2},
                                         ScheduleCase{"resnet50", "4-4-2-1", {64, 64}, 1},
                                         ScheduleCase{"resnet50", "3-5-2-9", {97, 67}, 3},
                                         ScheduleCase{"resnet50", "16-1-7-2", {96, 96}, 1},
                                         ScheduleCase{"resnet50", "4-layer-2-layer", {97, 67}, 5},
                                         ScheduleCase{"regnet_y_400mf", "4-4-2-1", {64, 96}, 2},
                                         ScheduleCase{"regnet_y_400mf:dense", "2-4-2-1", {65, 64}, 2}),
                         [](const auto& param) {
                           std::string name =
                               testing::PrintToString(param.index) + "_" + param.param.architecture;
                           std::replace(name.begin(), name.end(), ':', '_');
                           return name;
                         });

/// S that changes between blocks of a stage: sums are kept for one grid and computed again for the other.
TEST(Schedules, GranularityMayChangeWithinAStage) {
  Model model = test::random_model(narrow_arch("resnet18", "4-2-2-4-8-4-1-2"), 27);
  Tensor x = test::random_input(2, {96, 64}, 28);
  Session plain(model, {.schedule = parse_block_schedule("masker=separate")});
  Trace expected = plain.run(x).trace;
  MaskSet masks = test::masks_of(expected);
  Trace trace = Session(model).run(x, {.force_masks = &masks}).trace;
  EXPECT_EQ(test::count_wrong_decisions(trace, expected, 1e-4), 0);
}

TEST(Schedules, RowBandsOfOnePatchAreTheWholeMap) {
  const BlockSchedule wanted{.traversal = Traversal::row_bands};
  const ModelSpec layer = make_spec(narrow_arch("resnet50", "layer")),
                  patches = make_spec(narrow_arch("resnet50", "4-4-2-1"));
  EXPECT_EQ(feasible_schedule(layer.blocks[1], wanted).traversal, Traversal::whole_map);
  EXPECT_EQ(feasible_schedule(patches.blocks[1], wanted).traversal, Traversal::row_bands);
}

/// Layer skipping is S >= the map, at every size of one session.
TEST(LayerSkipping, IsAPatchThatCoversTheMap) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf", "regnet_y_400mf:dense"}) {
    const Model layer = test::random_model(narrow_arch(name, "layer"), 31);
    const Model large = test::random_model(narrow_arch(name, "64-64-64-64"), 31);
    const BlockSchedule schedule;
    Session skipping(layer, {.threads = 2, .schedule = schedule});
    Session covering(large, {.threads = 2, .schedule = schedule});
    for (const MapSize size : {MapSize{64, 64}, MapSize{97, 131}, MapSize{32, 200}}) {
      const Tensor x = test::random_input(4, size, 32);
      MaskSet masks = test::make_masks(layer.spec, 4, size, MaskPattern::random, 33);
      for (const MaskSet* forced : {static_cast<MaskSet*>(nullptr), &masks}) {
        const Result got = skipping.run(x, {.force_masks = forced});
        const Result expected = covering.run(x, {.force_masks = forced});
        EXPECT_EQ(got.logits, expected.logits) << name;
        EXPECT_EQ(got.trace.image_macs, expected.trace.image_macs);
        for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
          EXPECT_EQ(got.trace.blocks[b].granularity, kWholeMapGranularity);
          EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
        }
      }
    }
  }
}

/// An image that skips every identity block costs stem, maskers, first blocks of stages and head; the others
/// of its batch cost what each costs alone.
TEST(LayerSkipping, InactiveImagesCostTheirMaskersAlone) {
  const Model model = test::random_model(narrow_arch("resnet50", "layer"), 34);
  constexpr MapSize kSize{64, 96};
  const Tensor x = test::random_input(8, kSize, 35);
  MaskSet masks = test::make_masks(model.spec, 8, kSize, MaskPattern::full, 36);
  for (auto& [name, mask] : masks) {
    const int64_t pixels = mask.size() / 8;
    for (const int64_t image : {0, 2, 3, 5, 7})
      std::fill_n(mask.data.begin() + image * pixels, pixels, uint8_t{0});
  }
  const Result result =
      Session(model, {.schedule = parse_block_schedule("whole_map_above=2")}).run(x, {.force_masks = &masks});
  const NetworkGeometry geometry = network_geometry(model.spec, kSize);
  auto skipped = static_cast<double>(fixed_macs(model.spec, geometry)), computed = skipped;
  for (size_t b = 0; b < model.spec.blocks.size(); ++b) {
    const BlockMacs macs = block_macs(model.spec.blocks[b], geometry.blocks[b]);
    skipped += static_cast<double>(macs.masker + macs.projection);
    computed += static_cast<double>(macs.dense_total());
    EXPECT_DOUBLE_EQ(result.trace.blocks[b].rate, 3.0 / 8);
    EXPECT_DOUBLE_EQ(result.trace.blocks[b].dilated_rate, 3.0 / 8) << "whole maps have no halo";
  }
  for (size_t n = 0; n < 8; ++n) {
    const bool active = n == 1 || n == 4 || n == 6;
    EXPECT_DOUBLE_EQ(result.trace.image_macs[n], active ? computed : skipped) << n;
  }
}

TEST(Schedules, IncrementalIsReadByItsFormerNameToo) {
  EXPECT_EQ(parse_block_schedule("masker=pooled").masker, MaskerSchedule::incremental);
  EXPECT_THAT(to_string(BlockSchedule{}), testing::HasSubstr("masker=incremental"));
}

TEST(Schedules, TextsRoundTripAndBadOnesAreNamed) {
  for (const std::string& text : all_schedules()) EXPECT_EQ(to_string(parse_block_schedule(text)), text);
  EXPECT_EQ(parse_block_schedule(""), BlockSchedule());
  for (const char* bad : {"masker", "masker=", "masker=fused", "gather=maybe", "speed=high",
                          "whole_map_above=-1", "whole_map_above=half", "masker=incremental,,"}) {
    EXPECT_THROW(parse_block_schedule(bad), Error) << bad;
  }
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  EXPECT_THROW(make_executable(model, Backend::cpu, std::nullopt, NetworkSchedule{}), Error);
}

TEST(Session, TwoRunConcurrentlyWithIdenticalResults) {
  Model model = test::random_model(narrow_arch("resnet50", "4-4-2-1"), 18);
  std::shared_ptr<const Executable> executable = make_executable(model);
  Tensor x = test::random_input(2, {64, 64}, 19);
  Tensor expected = Session(executable, 1).run(x).logits;
  std::vector<int> equal(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      Session session(executable, 2);
      for (int repeat = 0; repeat < 5; ++repeat) equal[i] += session.run(x).logits == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(equal, testing::Each(5));
}

TEST(Session, ReadsTheCallersMemory) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 27);
  Tensor x = test::random_input(2, {64, 48}, 28);
  std::vector<float> buffer(x.data.size() + 7, std::nanf(""));
  std::copy(x.data.begin(), x.data.end(), buffer.begin() + 5);
  TensorView view{x.shape, std::span(buffer).subspan(5, x.data.size())};
  for (Backend backend : {Backend::reference, Backend::cpu}) {
    Session session(model, {.backend = backend, .threads = 2});
    EXPECT_EQ(session.run(view).logits, session.run(x).logits);
    view.data = view.data.first(x.data.size() - 1);
    EXPECT_THROW(session.run(view), Error);
    view.data = std::span(buffer).subspan(5, x.data.size());
  }
}

/// Runs loops backwards on fresh threads, and counts them.
class BackwardsExecutor final : public Executor {
 public:
  explicit BackwardsExecutor(int threads) : threads_(threads) {}

  int threads() const override { return threads_; }
  void parallel_for(int64_t count, LoopBody body) override {
    ++loops;
    std::atomic<int64_t> left = count;
    std::vector<std::thread> workers;
    for (int thread = 0; thread < threads_; ++thread) {
      workers.emplace_back([&, thread] {
        for (int64_t i = --left; i >= 0; i = --left) body(i, thread);
      });
    }
    for (std::thread& worker : workers) worker.join();
  }

  std::atomic<int> loops = 0;

 private:
  int threads_;
};

TEST(Session, RunsOnTheCallersThreadsWithTheSameBits) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1", 0.5), 29);
  Tensor x = test::random_input(2, {97, 64}, 30);
  Result expected = Session(model).run(x);
  for (int threads : {1, 3}) {
    auto executor = std::make_shared<BackwardsExecutor>(threads);
    Session session(model, {.executor = executor});
    EXPECT_EQ(session.threads(), threads);
    Result got = session.run(x);
    EXPECT_EQ(got.logits, expected.logits);
    for (size_t b = 0; b < got.trace.blocks.size(); ++b) {
      EXPECT_EQ(got.trace.blocks[b].mask, expected.trace.blocks[b].mask);
    }
    EXPECT_GT(executor->loops, 17);  // stem, 8 blocks of 2, head
  }
}

TEST(Session, SessionsShareAnExecutor) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 31);
  std::shared_ptr<const Executable> executable = make_executable(model);
  Tensor x = test::random_input(1, {64, 64}, 32);
  Tensor expected = Session(executable, 1).run(x).logits;
  auto executor = std::make_shared<BackwardsExecutor>(2);
  std::vector<int> equal(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      Session session(executable, executor);
      for (int repeat = 0; repeat < 3; ++repeat) equal[i] += session.run(x).logits == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(equal, testing::Each(3));
}

TEST(Session, RefusesExecutorsThatCannotServe) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 33);
  std::shared_ptr<const Executable> executable = make_executable(model);
  for (int threads : {-1, 0, 1025}) {
    EXPECT_THROW(Session(executable, std::make_shared<BackwardsExecutor>(threads)), Error) << threads;
  }
  EXPECT_THROW(Session(executable, std::shared_ptr<Executor>()), Error);
  EXPECT_THROW(Session(std::shared_ptr<const Executable>(), 1), Error);
}

TEST(Session, ThrowsOnBadRequests) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 20);
  Session session(model);
  EXPECT_THROW(session.run(Tensor({1, 1, 64, 64})), Error);
  EXPECT_THROW(session.run(Tensor({3, 64, 64})), Error);
  EXPECT_THROW(session.run(Tensor({1, 3, 31, 64})), Error);
  EXPECT_THROW(session.run(Tensor({0, 3, 64, 64})), Error);
  EXPECT_THROW(Session(model, {.threads = 0}), Error);
  EXPECT_THROW(Session(model, {.backend = Backend::reference, .isa = Isa::avx2}), Error);
  Tensor x = test::random_input(1, {64, 64}, 21);
  auto message = [&](const MaskSet& masks) -> std::string {
    return test::error_of([&] { session.run(x, {.force_masks = &masks}); });
  };
  EXPECT_THAT(message({{"layer1.9", ByteTensor({1, 16, 16})}}),
              testing::HasSubstr("no dynamic block of this name"));
  EXPECT_THAT(message({{"layer1.0", ByteTensor({1, 8, 16})}}), testing::HasSubstr("expected [1, 16, 16]"));
  ByteTensor torn({1, 16, 16});
  torn.data[0] = 1;
  EXPECT_THAT(message({{"layer1.0", torn}}), testing::HasSubstr("constant over each patch"));
  Model broken = model;
  broken.weights.erase("fc.bias");
  EXPECT_THROW(Session{broken}, Error);
}

TEST(Session, TraceAddsUp) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 22);
  Result result = Session(model).run(test::random_input(3, {64, 64}, 23));
  EXPECT_EQ(result.trace.static_macs, static_macs(model.spec, {64, 64}));
  double macs = static_cast<double>(fixed_macs(model.spec, network_geometry(model.spec, {64, 64})));
  double seconds = 0;
  for (const BlockTrace& block : result.trace.blocks) {
    macs += block.macs;
    seconds += block.seconds;
    ASSERT_EQ(block.rates.size(), 3u);
    EXPECT_NEAR(block.rate, (block.rates[0] + block.rates[1] + block.rates[2]) / 3, 1e-12);
    EXPECT_NEAR(block.rate, activation_rate(block.mask.data), 1e-12);
    EXPECT_GE(block.dilated_rate, block.rate);
  }
  EXPECT_NEAR(result.trace.macs, macs, 1e-6 * macs);
  EXPECT_LE(seconds, result.trace.seconds);
}

/// Logits of a child process that a signal ends after 20 s; empty if it does not end well.
std::vector<float> logits_in_child(Session& session, const Tensor& input, size_t count) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return {};
  const size_t bytes = count * sizeof(float);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const Result result = session.run(input);
    const auto written = write(ends[1], result.logits.data.data(), bytes);
    _exit(written == static_cast<ssize_t>(bytes) ? 0 : 1);
  }
  close(ends[1]);
  std::vector<float> logits(count);
  const bool whole = read(ends[0], logits.data(), bytes) == static_cast<ssize_t>(bytes);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return whole && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? logits : std::vector<float>{};
}

TEST(Session, RunsInAChildOfForkAsInItsParent) {
  if (test::kThreadsSanitized)
    GTEST_SKIP() << "the thread sanitizer follows no threads that begin after a fork";
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  Tensor input = test::random_input(2, {64, 64}, 2);
  Session session(model, {.threads = 3});
  const std::vector<float> expected = session.run(input).logits.data;
  EXPECT_EQ(logits_in_child(session, input, expected.size()), expected);
  EXPECT_EQ(session.run(input).logits.data, expected);
}

/// Stopped before its n-th block, with every backend, and usable afterwards.
TEST(Session, StopsWhenAsked) {
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  Tensor input = test::random_input(1, {64, 64}, 2);
  for (Backend backend : {Backend::cpu, Backend::reference}) {
    Session session(model, {.backend = backend});
    const std::vector<float> expected = session.run(input).logits.data;
    int asked = 0;
    std::function<bool()> stop = [&] { return ++asked == 3; };
    const RunOptions options{.stop = &stop};
    EXPECT_THAT([&] { session.run(input, options); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("run: stopped")));
    EXPECT_EQ(asked, 3);
    EXPECT_EQ(session.run(input, options).logits.data, expected);
    EXPECT_EQ(asked, 3 + 8) << "once before each block";
    stop = []() -> bool { throw std::logic_error("of the caller"); };
    EXPECT_THROW(session.run(input, options), std::logic_error);
    EXPECT_EQ(session.run(input).logits.data, expected);
  }
}

int64_t resident_bytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// What is said before a run is what the run takes.
TEST(Session, TakesTheMemoryThatItsExecutableSays) {
  if (test::kThreadsSanitized) GTEST_SKIP() << "the thread sanitizer keeps shadows of all memory";
  constexpr int64_t kImages = 48;
  const MapSize size{224, 224};
  Model model = test::random_model(narrow_arch("resnet18", "4-4-2-1"), 1);
  const auto executable = make_executable(model);
  const int64_t said = executable->run_bytes(network_geometry(model.spec, size), kImages);
  EXPECT_GT(said, int64_t{100} << 20);
  Tensor input = test::random_input(kImages, size, 2);
  Session session(executable, 1);
  const int64_t before = resident_bytes();
  session.run(input, {.record_masks = false});
  const double taken = static_cast<double>(resident_bytes() - before);
  EXPECT_NEAR(taken / static_cast<double>(said), 1, 0.1);
}

std::vector<std::string> names_of(const std::vector<OperationTime>& operations) {
  std::vector<std::string> names;
  for (const OperationTime& operation : operations) names.push_back(operation.name);
  return names;
}

TEST(Session, TimesOperationsWhereItIsAsked) {
  const Model model = test::random_model(narrow_arch("resnet50", "4-4-2-1"), 5);
  const Tensor input = test::random_input(2, {64, 64}, 6);
  for (const char* plan : {"masker=separate,gather=copied,scatter=separate", "masker=incremental",
                           "masker=with_conv1", "traversal=row_bands"}) {
    SCOPED_TRACE(plan);
    Session session(model, {.schedule = parse_block_schedule(plan)});
    const Result plain = session.run(input);
    const Result timed = session.run(input, {.time_operations = true});
    EXPECT_EQ(plain.logits.data, timed.logits.data);
    for (size_t b = 0; b < timed.trace.blocks.size(); ++b) {
      const BlockTrace& block = timed.trace.blocks[b];
      EXPECT_TRUE(plain.trace.blocks[b].operations.empty());
      double sum = 0;
      for (const OperationTime& operation : block.operations) sum += operation.seconds;
      EXPECT_GT(sum, 0.0);
      EXPECT_LE(sum, block.seconds);
      EXPECT_THAT(names_of(block.operations), testing::Contains("conv2")) << block.name;
      EXPECT_THAT(block.operations.front().name, testing::StartsWith("masker")) << block.name;
    }
    const Result dense = session.run(input, {.dense = true, .time_operations = true});
    EXPECT_THAT(names_of(dense.trace.blocks[1].operations),
                testing::AllOf(testing::Contains("conv1"), testing::Not(testing::Contains("lists"))));
  }
}

TEST(Session, RefusesARunBeyondTheMemory) {
  Session session(test::random_model({.name = "resnet50", .granularity = {4, 4, 2, 1}}, 1));
  session.check_memory({64, 64}, 1);
  EXPECT_THAT(
      [&] {
        session.check_memory({2048, 2048}, 500);
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("500 images of 2048 x 2048 px needs")));
  EXPECT_THROW(session.check_memory({8, 8}, 1), Error);
}

}  // namespace
}  // namespace lasnet
