#include "backends/cuda/program.h"

#include <algorithm>

#include "backends/cuda/kernels/pack.h"
#include "mask/expected_dilation.h"

namespace lasnet::cuda {
namespace {

/// Appends the operations of one block to its program.
class BlockProgrammer {
 public:
  BlockProgrammer(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                  const CudaTarget& target)
      : block_(block), geometry_(geometry), images_(images), target_(target) {}

  BlockProgram every_pixel() {
    add_first();
    if (has_three()) add_second();
    add_rest();
    return std::move(program_);
  }

  BlockProgram masked(const BlockSchedule& plan, const CudaMaskerShare& role) {
    plan_ = plan;
    const int beside = convs_beside_masker(block_, geometry_, images_, plan, target_);
    add_masking(plan.masker == MaskerSchedule::incremental ? role : CudaMaskerShare{},
                beside > 0 ? Concurrency::side : Concurrency::serial);
    if (beside > 0) add_first().concurrency = Concurrency::beside;
    if (beside > 1) {
      Operation& second = add_second();
      second.concurrency = Concurrency::beside;
      second.starts_early = false;  // it would take the masker's place on the device
    }
    sparse_ = true;
    if (beside < 1) add_first();
    if (beside < 2 && has_three()) add_second();
    add_rest();
    return std::move(program_);
  }

 private:
  bool has_three() const { return block_.convs.size() > 2; }
  bool scatters() const { return sparse_ && plan_.scatter == ScatterSchedule::separate; }

  Operation& add(OperationKind kind, const char* name, MapName in, MapName out) {
    return program_.operations.emplace_back(Operation{.kind = kind, .name = name, .in = in, .out = out});
  }

  PixelSet pixels(ListKind list) const {
    const bool is_pooled = list == ListKind::dilated || list == ListKind::active;
    return {list, !sparse_, is_pooled && block_.pools_densely()};
  }

  void add_masking(const CudaMaskerShare& role, Concurrency concurrency) {
    const bool alone = role == CudaMaskerShare{};
    Operation& masker = add(alone ? OperationKind::masker : OperationKind::masker_group, "masker",
                            MapName::input, MapName::input);
    masker.concurrency = concurrency;
    masker.masker = role;
    Operation& building = add(OperationKind::build_lists, "lists", MapName::input, MapName::input);
    building.concurrency = concurrency;
    std::vector<ListBuild>& lists = building.lists;
    const auto patches = static_cast<int>(geometry_.grid.patches());
    lists = {{ListKind::dilated, whole_map_patches(plan_.whole_map_above, patches)}, {ListKind::active}};
    if (block_.pools_densely()) {
      for (ListBuild& list : lists) list.whole_from_patches = 1;
      lists.push_back({ListKind::result});
    }
    if (block_.projection) lists.push_back({ListKind::projected});
    if (role.blocks > 1) lists.push_back({ListKind::patches});  // for the next block's masker
  }

  /// Share of a list's map that the list is expected to hold.
  double expected_rate(const PixelSet& over) const {
    if (over.everything || over.list == ListKind::projected) return 1;
    if (over.list != ListKind::dilated) return kExpectedRate;
    return expected_dilated_rate(kExpectedRate, geometry_.grid.granularity, geometry_.dilation_stride);
  }

  Operation& add_conv(ConvName role, const char* name, MapName in, MapName out, ListKind list,
                      Epilogue epilogue) {
    Operation& conv = add(OperationKind::conv, name, in, out);
    conv.conv = role;
    conv.over = pixels(list);
    conv.epilogue = epilogue;
    const ConvSpec& spec =
        role == ConvName::projection ? *block_.projection : block_.convs[static_cast<size_t>(role)];
    const MapSize map = list == ListKind::dilated ? geometry_.middle : geometry_.output;
    conv.choose_tile(cuda_conv_work(spec, epilogue == Epilogue::bias_add_relu, target_),
                     images_ * map.pixels(), expected_rate(conv.over), target_.tiles);
    return conv;
  }

  Operation& add_first() {
    return add_conv(ConvName::first, "conv1", MapName::input, MapName::middle, ListKind::dilated,
                    Epilogue::bias_relu);
  }

  /// The second of three.
  Operation& add_second() {
    const MapName in = add_gather();
    return add_conv(ConvName::second, "conv2", in, MapName::inner, ListKind::active, Epilogue::bias_relu);
  }

  /// Copies of active patches, where the plan makes them; returns what the second convolution reads.
  MapName add_gather() {
    if (!sparse_ || plan_.gather == GatherSchedule::indirect) return MapName::middle;
    add(OperationKind::gather_patches, "gather", MapName::middle, MapName::gathered);
    add(OperationKind::gathered_pixels, "gather", MapName::middle, MapName::gathered).over =
        pixels(ListKind::active);
    return MapName::gathered;
  }

  void add_squeeze_excite() {
    const auto add_part = [&](OperationKind kind, ListKind list) {
      add(kind, "squeeze_excite", MapName::inner, MapName::inner).over = pixels(list);
    };
    add_part(OperationKind::mean, ListKind::active);
    add_part(OperationKind::excite, ListKind::active);
    add_part(OperationKind::scale_pixels, ListKind::result);
  }

  /// What comes after all convolutions but the last, and that.
  void add_rest() {
    if (block_.squeeze_excite) add_squeeze_excite();
    if (block_.projection) {
      // Inactive pixels end here; active ones wait for the body.
      add_conv(ConvName::projection, "projection", MapName::input, MapName::output, ListKind::projected,
               scatters() ? Epilogue::bias : Epilogue::projection);
    }
    if (scatters()) add(OperationKind::fill, "scatter_fill", MapName::body, MapName::body);
    const MapName to = scatters() ? MapName::body : MapName::output;
    const Epilogue epilogue = scatters() ? Epilogue::bias : Epilogue::bias_add_relu;
    if (has_three()) {
      add_conv(ConvName::third, "conv3", MapName::inner, to, ListKind::result, epilogue);
    } else {
      const MapName in = add_gather();
      add_conv(ConvName::second, "conv2", in, to, ListKind::active, epilogue);
    }
    if (scatters()) add(OperationKind::add_relu, "scatter_add", MapName::body, MapName::output);
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
  int64_t images_;
  const CudaTarget& target_;
  BlockSchedule plan_;
  bool sparse_ = false;  ///< what is added now follows the masks
  BlockProgram program_;
};

}  // namespace

void Operation::choose_tile(const CudaConvWork& layer, int64_t pixels, double rate,
                            const CudaTileCosts& costs) {
  work = layer_work(layer, static_cast<double>(pixels), rate, costs);
  tile = choose_cuda_tile(work, costs);
}

bool BlockProgram::runs(OperationKind kind) const {
  return std::any_of(operations.begin(), operations.end(),
                     [&](const Operation& operation) { return operation.kind == kind; });
}

BlockProgram static_program(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                            const CudaTarget& target) {
  return BlockProgrammer(block, geometry, images, target).every_pixel();
}

BlockProgram dynamic_program(const BlockSpec& block, const BlockGeometry& geometry, int64_t images,
                             const BlockSchedule& plan, const CudaMaskerShare& masker,
                             const CudaTarget& target) {
  return BlockProgrammer(block, geometry, images, target).masked(plan, masker);
}

BlockProgram stem_program(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t images,
                          const CudaTarget& target) {
  const ConvSpec& stem = spec.stem;
  const int pitch = image_pitch(target.precision, stem.in_channels, stem.stride);
  Operation conv{.name = "stem", .in = MapName::image, .out = MapName::stem, .conv = ConvName::stem};
  CudaConvWork work = cuda_conv_work(stem, false, target);
  // A row of the kernel is one run of its input.
  work.reduction_bytes = int64_t{stem.kernel} * stem.kernel * pitch * element_bytes(target.precision);
  conv.choose_tile(work, images * geometry.stem.pixels(), 1, target.tiles);
  BlockProgram program{{{.kind = OperationKind::image_to_map, .name = "image", .out = MapName::image}, conv}};
  if (spec.stem_pool) {
    program.operations.push_back(
        {.kind = OperationKind::max_pool, .name = "stem_pool", .in = MapName::stem, .out = MapName::input});
  }
  return program;
}

BlockProgram head_program(const ModelSpec& spec) {
  if (!spec.has_head()) return {};
  return {{{.kind = OperationKind::mean,
            .name = "head_pool",
            .in = MapName::output,
            .over = {.everything = true}},
           {.kind = OperationKind::head, .name = "head"}}};
}

NetworkProgram network_program(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t images,
                               const NetworkSchedule* plan, const CudaTarget& target) {
  NetworkProgram program{stem_program(spec, geometry, images, target), {}, head_program(spec)};
  std::vector<CudaMaskerShare> maskers;
  if (plan != nullptr) maskers = cuda_masker_shares(spec, geometry, *plan);
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    const BlockGeometry& maps = geometry.blocks[b];
    program.blocks.push_back(plan != nullptr && block.is_dynamic()
                                 ? dynamic_program(block, maps, images, plan->blocks[b], maskers[b], target)
                                 : static_program(block, maps, images, target));
  }
  return program;
}

}  // namespace lasnet::cuda
