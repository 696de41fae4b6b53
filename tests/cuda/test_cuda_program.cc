// What runs on the emulated device against the programs that the latency model prices, operation by
// operation. Networks are an eighth as wide as usual, and kernels are noted but not run, where all
// combinations are tried: the emulated device is slow. Which kernels are launched depends on neither.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/prices.h"
#include "backends/cuda/program.h"
#include "launch_record.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

using cuda::Concurrency;
using cuda::Operation;
using cuda::OperationKind;

/// As is_launch_of names it.
const char* type_of(OperationKind kind) {
  switch (kind) {
    case OperationKind::image_to_map:
      return "ImageCall";
    case OperationKind::conv:
      return "ConvCall";
    case OperationKind::max_pool:
      return "MaxPoolCall";
    case OperationKind::masker:
      return "MaskerCall";
    case OperationKind::masker_group:
      return "MaskerGroupCall";
    case OperationKind::build_lists:
      return "ListWork";
    case OperationKind::fill:
      return "fill";
    case OperationKind::gather_patches:
      return "GatherCall";
    case OperationKind::gathered_pixels:
      return "ListGeometry";
    case OperationKind::mean:
      return "MeanCall";
    case OperationKind::excite:
      return "ExciteCall";
    case OperationKind::scale_pixels:
      return "ScaleCall";
    case OperationKind::add_relu:
      return "AddCall";
    case OperationKind::head:
      return "HeadCall";
  }
  return "";
}

/// The launches of one run, taken one after the other.
class Launches {
 public:
  explicit Launches(std::vector<Launch> all) : all_(std::move(all)) {
    // Lists of every pixel come before the network.
    for (; next_ < all_.size() && !is_launch_of(all_[next_], "ImageCall"); ++next_) {
      if (!is_launch_of(all_[next_], "ListWork")) continue;
      const auto call = all_[next_].call<cuda::ListCall>();
      for (int i = 0; i < call.count; ++i) full_lists_.insert(call.targets[i].list.image_begin);
    }
    first_stream_ = all_[next_].stream;
  }

  const Launch& next() {
    static const Launch nothing{"nothing"};
    return next_ < all_.size() ? all_[next_++] : nothing;
  }
  bool is_at_end() const { return next_ == all_.size(); }
  bool is_on_side(const Launch& launch) const { return launch.stream != first_stream_; }
  bool is_full(const int32_t* image_begin) const { return full_lists_.count(image_begin) > 0; }

 private:
  std::vector<Launch> all_;
  size_t next_ = 0;
  const void* first_stream_;
  std::set<const int32_t*> full_lists_;
};

/// The launch that a tile makes of this call.
Launch conv_launch(Precision precision, const CudaTile& tile, const cuda::ConvCall& call) {
  std::vector<Launch> launches;
  cuda::emulation::Settings& settings = cuda::emulation::settings();
  std::vector<Launch>* const before = std::exchange(settings.launches, &launches);
  cuda::Stream stream;
  cuda::conv(stream, precision, tile, call);
  settings.launches = before;
  return launches.at(0);
}

void expect_conv(const Operation& operation, const Launch& launch, const Launches& launches,
                 Precision precision, int64_t images) {
  const auto call = launch.call<cuda::ConvCall>();
  const Launch expected = conv_launch(precision, operation.tile, call);
  EXPECT_EQ(launch.kernel, expected.kernel) << "another tile";
  EXPECT_EQ(launch.shape.shared_bytes, expected.shape.shared_bytes);
  EXPECT_EQ(call.epilogue, operation.epilogue);
  EXPECT_EQ(call.out_channels, operation.work.channels);
  EXPECT_EQ(int64_t{call.taps} * call.run * cuda::element_bytes(precision), operation.work.reduction_bytes);
  const double most = operation.work.most_pixels;
  EXPECT_EQ(static_cast<double>(call.max_pixels), most > 0 ? most : operation.work.pixels);
  if (operation.conv != cuda::ConvName::stem) {
    EXPECT_EQ(launches.is_full(call.count - images), operation.over.everything);
  }
}

void expect_launch(const Operation& operation, const Launch& launch, const Launches& launches,
                   Precision precision, int64_t images) {
  ASSERT_TRUE(is_launch_of(launch, type_of(operation.kind))) << launch.name;
  EXPECT_EQ(launches.is_on_side(launch), operation.concurrency == Concurrency::side);
  EXPECT_LE(launch.overlaps, operation.starts_early);
  if (operation.kind == OperationKind::conv)
    return expect_conv(operation, launch, launches, precision, images);
  if (operation.kind == OperationKind::masker_group) {
    const auto call = launch.call<cuda::MaskerGroupCall>();
    EXPECT_EQ(call.count, operation.masker.blocks);
    EXPECT_EQ(call.listed != nullptr, operation.masker.refreshes);
  }
  if (operation.kind == OperationKind::mean) {
    EXPECT_EQ(launches.is_full(launch.call<cuda::MeanCall>().list.image_begin), operation.over.everything);
  }
  if (operation.kind == OperationKind::build_lists) {
    const auto call = launch.call<cuda::ListCall>();
    ASSERT_EQ(call.count, operation.lists.size());
    for (size_t i = 0; i < operation.lists.size(); ++i) {
      EXPECT_EQ(call.targets[i].kind, operation.lists[i].kind);
      EXPECT_EQ(call.targets[i].whole_from_patches, operation.lists[i].whole_from_patches);
    }
  }
}

void expect_program(const cuda::BlockProgram& program, Launches& launches, Precision precision,
                    int64_t images) {
  bool forked = false;
  for (const Operation& operation : program.operations) {
    SCOPED_TRACE(operation.name);
    // Streams meet where something begins to run beside something else, and where it ends.
    if (const bool wanted = operation.concurrency != Concurrency::serial; wanted != forked) {
      EXPECT_EQ(launches.next().name, "wait");
      forked = wanted;
    }
    expect_launch(operation, launches.next(), launches, precision, images);
    if (testing::Test::HasFailure()) return;
  }
}

std::vector<std::string> names_of(const std::vector<OperatorLatency>& rows) {
  std::vector<std::string> names;
  for (const OperatorLatency& row : rows) names.push_back(row.name);
  return names;
}

/// Rows that the latency model has for a program.
std::vector<std::string> rows_of(const cuda::BlockProgram& program) {
  std::vector<std::string> names;
  for (const Operation& operation : program.operations) {
    if (operation.concurrency == Concurrency::side) continue;
    const bool is_first_beside = operation.concurrency == Concurrency::beside && names.empty();
    const std::string name = is_first_beside ? "masker_conv1" : operation.name;
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

struct ProgramCase {
  const Model& model;
  const CudaContext& context;
  MapSize size;
  const NetworkSchedule& plan;
};

/// Compares a run, with masks or dense, with what the latency model prices.
void expect_priced(const ProgramCase& c, bool dense, const std::vector<Launch>& launched) {
  const ModelSpec& spec = c.model.spec;
  const int64_t images = c.context.batch;
  const CudaTarget target = c.context.target();
  const NetworkGeometry geometry = network_geometry(spec, c.size);
  const std::vector<CudaMaskerShare> maskers = cuda_masker_shares(spec, geometry, c.plan);
  Launches launches(launched);
  const cuda::BlockProgram stem = cuda::stem_program(spec, geometry, images, target);
  expect_program(stem, launches, c.context.precision, images);
  for (size_t b = 0; b < spec.blocks.size() && !testing::Test::HasFailure(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    SCOPED_TRACE(block.name);
    const BlockGeometry& maps = geometry.blocks[b];
    const bool sparse = !dense && block.is_dynamic();
    const BlockSchedule& plan = c.plan.blocks[b];
    const cuda::BlockProgram program =
        sparse ? cuda::dynamic_program(block, maps, images, plan, maskers[b], target)
               : cuda::static_program(block, maps, images, target);
    expect_program(program, launches, c.context.precision, images);
    const std::vector<OperatorLatency> rows =
        sparse ? cuda_dynamic_block(block, maps, c.context, independent_activity(maps, images, 0.5), plan,
                                    maskers[b])
               : cuda_static_block(block, maps, c.context);
    EXPECT_EQ(names_of(rows), rows_of(program));
    for (const OperatorLatency& row : rows) EXPECT_GT(row.seconds, 0) << row.name;
  }
  const cuda::BlockProgram head = cuda::head_program(spec);
  expect_program(head, launches, c.context.precision, images);
  EXPECT_TRUE(launches.is_at_end());
  std::vector<std::string> fixed = rows_of(stem);
  for (const std::string& name : rows_of(head)) fixed.push_back(name);
  EXPECT_EQ(names_of(cuda_fixed(spec, geometry, c.context)), fixed);
}

/// On the emulated device, whose costs are those of the shipped profile.
CudaContext context_of(Precision precision, int64_t images, bool hopper) {
  CudaContext context{
      .hardware = cuda_of(load_hardware("cuda-h100")), .batch = images, .precision = precision};
  context.hardware.tiles = usable_tile_costs(context.hardware.tiles, hopper);
  return context;
}

void expect_runs_what_is_priced(const Model& model, const BlockSchedule& wanted, Precision precision,
                                const std::vector<Tensor>& inputs, bool runs_kernels) {
  const bool hopper = precision == Precision::bf16;
  LaunchRecorder recorder(runs_kernels, hopper);
  NetworkSchedule plan;
  for (const BlockSpec& block : model.spec.blocks)
    plan.blocks.push_back(feasible_cuda_schedule(block, wanted));
  Session session(make_executable(model, Backend::cuda, std::nullopt, plan, precision), 1);
  for (const Tensor& input : inputs) {
    const CudaContext context = context_of(precision, input.shape[0], hopper);
    const MapSize size{input.shape[2], input.shape[3]};
    SCOPED_TRACE(fmt::format("{} {} {} images of {} x {} {}", model.spec.arch.name, to_string(precision),
                             context.batch, size.height, size.width, to_string(wanted)));
    recorder.launches.clear();
    session.run(input);
    const std::vector<Launch> sparse = recorder.launches;
    expect_priced({model, context, size, plan}, false, sparse);
    // The lists of every pixel are built once.
    const auto image = std::find_if(sparse.begin(), sparse.end(),
                                    [](const Launch& launch) { return is_launch_of(launch, "ImageCall"); });
    recorder.launches.assign(sparse.begin(), image);
    session.run(input, {.dense = true});
    expect_priced({model, context, size, plan}, true, recorder.launches);
    if (testing::Test::HasFailure()) return;
  }
}

std::vector<BlockSchedule> all_schedules() {
  std::vector<BlockSchedule> plans;
  for (MaskerSchedule masker :
       {MaskerSchedule::separate, MaskerSchedule::incremental, MaskerSchedule::with_conv1}) {
    for (GatherSchedule gather : {GatherSchedule::indirect, GatherSchedule::copied}) {
      for (ScatterSchedule scatter : {ScatterSchedule::in_place, ScatterSchedule::separate})
        plans.push_back({.masker = masker, .gather = gather, .scatter = scatter});
    }
  }
  return plans;
}

std::vector<std::string> all_architectures() {
  std::vector<std::string> names = architecture_names();
  names.emplace_back("regnet_y_400mf:dense");
  return names;
}

class CudaProgram : public testing::TestWithParam<std::string> {};

TEST_P(CudaProgram, RunsWhatThePredictorPrices) {
  const Model model = random_model(narrow_arch(GetParam(), "4-4-2-1", 0.125), 1);
  std::vector<Tensor> inputs;
  for (int64_t images : {1, 8}) {
    for (MapSize size : {MapSize{224, 224}, {160, 224}})
      inputs.push_back(Tensor({images, 3, size.height, size.width}));
  }
  for (const BlockSchedule& plan : all_schedules()) {
    for (Precision precision : {Precision::fp32, Precision::bf16})
      expect_runs_what_is_priced(model, plan, precision, inputs, false);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryArchitecture, CudaProgram, testing::ValuesIn(all_architectures()),
                         [](const auto& of) {
                           std::string name = of.param;
                           std::replace(name.begin(), name.end(), ':', '_');
                           return name;
                         });

TEST(CudaPrograms, OfSmallNetworksRunToTheEnd) {
  for (const char* name : {"resnet18", "resnet50", "regnet_y_400mf:dense"}) {
    const Model model = random_model(narrow_arch(name, "4-3-2-1", 0.125), 1);
    for (const BlockSchedule& plan : {BlockSchedule{.masker = MaskerSchedule::incremental},
                                      BlockSchedule{.masker = MaskerSchedule::with_conv1,
                                      .gather = GatherSchedule::copied,
                                      .scatter = ScatterSchedule::separate}}) {
      expect_runs_what_is_priced(model, plan, Precision::fp16, {random_input(2, {33, 48}, 2)}, true);
    }
  }
}

TEST(CudaPrograms, HoldTwoConvolutionsBesideASmallBatchsMasker) {
  const ModelSpec spec = make_spec(narrow_arch("resnet50", "4-4-2-1", 1));
  const NetworkGeometry geometry = network_geometry(spec, {224, 224});
  const cuda::BlockProgram program =
      cuda::dynamic_program(spec.blocks[9], geometry.blocks[9], 1, {.masker = MaskerSchedule::with_conv1}, {},
                            {Precision::fp16, 132});
  std::vector<std::pair<std::string, Concurrency>> operations;
  for (const Operation& operation : program.operations)
    operations.emplace_back(operation.name, operation.concurrency);
  EXPECT_THAT(operations, testing::ElementsAre(testing::Pair("masker", Concurrency::side),
                                               testing::Pair("lists", Concurrency::side),
                                               testing::Pair("conv1", Concurrency::beside),
                                               testing::Pair("conv2", Concurrency::beside),
                                               testing::Pair("conv3", Concurrency::serial)));
  EXPECT_FALSE(program.operations[3].starts_early);
}

}  // namespace
}  // namespace lasnet::test
