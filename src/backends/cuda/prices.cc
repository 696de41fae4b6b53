#include "backends/cuda/prices.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/kernel_shapes.h"
#include "backends/cuda/kernels/list_geometry.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/program.h"
#include "base/fail.h"
#include "base/math.h"
#include "mask/active_lists.h"
#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

using cuda::Concurrency;
using cuda::element_bytes;
using cuda::Operation;
using cuda::OperationKind;
using cuda::padded_channels;

constexpr double kMega = 1e-6, kKilo = 1e-3;

double pixels_of(MapSize map) { return static_cast<double>(map.pixels()); }
CudaCounts counts_of(std::initializer_list<std::pair<CudaUnit, double>> entries) {
  CudaCounts counts;
  counts[CudaUnit::kernel] = 1;
  for (const auto& [unit, count] : entries) counts[unit] = count;
  return counts;
}

/// Whether it comes before or after the rest of a kernel's work, not beside it.
bool is_added(CudaUnit unit) { return unit < CudaUnit::stream; }
/// Whether it is spent on reading maps.
bool reads_maps(CudaUnit unit) {
  return unit == CudaUnit::stream || unit == CudaUnit::masker || unit == CudaUnit::masker_step ||
         unit == CudaUnit::mean_step;
}
double seconds_of(CudaUnit unit, const CudaCounts& counts, const CudaHardware& hardware) {
  const double seconds = counts[unit] * hardware.cost(unit);
  if (!reads_maps(unit)) return seconds;
  const double from_memory = std::clamp(counts.footprint_mb / hardware.l2_mb - 1, 0.0, 1.0);
  return seconds * (1 + from_memory * (hardware.memory_factor - 1));
}

/// Reading patches to decide about them, of a map of `map_pixels`.
CudaCounts patch_counts(double patches, double pixels, double map_pixels, int pitch, int side,
                        Precision precision) {
  const double bytes = element_bytes(precision);
  const double reads = ceil_div(pitch * bytes, 32 * 16);  // of a warp, for a row of a small patch
  const bool small = cuda::is_small_patch(side);
  const double row_reads = reads * (small ? 1 : ceil_div(side, cuda::kMaskerStrip));
  CudaCounts counts =
      counts_of({{CudaUnit::wait, 1},
                 {CudaUnit::masker, pixels * pitch * bytes * kMega},
                 {CudaUnit::masker_row, patches * side * row_reads * kKilo},
                 {CudaUnit::masker_step, row_reads * (small ? side : ceil_div(side, cuda::kMaskerWarps))}});
  counts.footprint_mb = map_pixels * pitch * bytes * kMega;
  return counts;
}

/// Prices operations under the outcomes of a mask.
class Pricer {
 public:
  Pricer(const CudaContext& context, const BlockActivity& activity)
      : context_(context), activity_(activity) {}
  virtual ~Pricer() = default;

  /// A row per operation. Operations of one name are one row, and so is what runs at the same time.
  std::vector<OperatorLatency> rows(const cuda::BlockProgram& program) const {
    std::vector<OperatorLatency> rows;
    OperatorLatency masking;
    const Operation* beside = nullptr;
    for (const Operation& operation : program.operations) {
      const OperatorLatency cost = price(operation);
      if (operation.concurrency == Concurrency::side) {
        masking.add(cost);
        continue;
      }
      if (operation.concurrency == Concurrency::beside) {
        // What a second convolution hides of masker and lists is left out.
        if (beside != nullptr) masking.seconds = std::max(0.0, masking.seconds - cost.seconds);
        if (beside == nullptr) beside = &operation;
      }
      if (!rows.empty() && rows.back().name == cost.name) {
        rows.back().add(cost);
      } else {
        rows.push_back(cost);
      }
    }
    if (beside != nullptr) rows.front() = together(*beside, rows.front(), masking);
    return rows;
  }

 protected:
  virtual double pixels(const Operation& operation, const ActiveCounts& outcome) const = 0;
  virtual CudaCounts counts(const Operation& operation, const ActiveCounts& outcome) const = 0;

  int bytes() const { return element_bytes(context_.precision); }
  double images() const { return static_cast<double>(context_.batch); }

  const CudaContext& context_;

 private:
  OperatorLatency price(const Operation& operation) const {
    return operation.kind == OperationKind::conv ? price_conv(operation) : price_kernel(operation);
  }

  OperatorLatency price_conv(const Operation& operation) const {
    OperatorLatency latency{.name = operation.name, .utilisation = 0};
    latency.tile = fmt::format("{} pixels x {} channels ({})", operation.tile.pixels, operation.tile.channels,
                               lasnet::to_string(operation.tile.shape));
    CudaConvWork work = operation.work;
    for (const ActiveCounts& outcome : activity_.scenarios) {
      work.pixels = pixels(operation, outcome);
      const CudaTile tile = adapted_to(operation.tile, work);
      const bool idle = work.pixels <= 0;  // the kernel starts, and finds an empty list
      const double covered = tiles_of(tile, work) * tile.pixels * tile.channels;
      const double seconds = idle ? context_.hardware.cost(CudaUnit::kernel)
                                  : expected_seconds(tile, work, context_.hardware.tiles);
      latency.seconds += outcome.probability * seconds;
      (idle ? latency.launch_s : latency.compute_s) += outcome.probability * seconds;
      latency.utilisation += outcome.probability * (idle ? 1 : work.pixels * work.channels / covered);
    }
    return latency;
  }

  OperatorLatency price_kernel(const Operation& operation) const {
    OperatorLatency latency{.name = operation.name};
    const CudaHardware& hardware = context_.hardware;
    for (const ActiveCounts& outcome : activity_.scenarios) {
      const CudaCounts done = counts(operation, outcome);
      const auto part = [&](CudaUnit unit) { return seconds_of(unit, done, hardware); };
      const double seconds = kernel_seconds(done, hardware), launch = part(CudaUnit::kernel);
      const double moving = std::max(part(CudaUnit::stream), part(CudaUnit::masker));
      const bool waits = seconds > launch + moving;
      latency.add({.name = {},
                   .seconds = seconds,
                   .compute_s = waits ? seconds - launch : 0,
                   .offchip_s = moving,
                   .launch_s = launch},
                  outcome.probability);
    }
    return latency;
  }

  /// Masker and lists beside a convolution: the longer of the two, or both where it leaves them no room.
  OperatorLatency together(const Operation& operation, const OperatorLatency& conv,
                           const OperatorLatency& masking) const {
    OperatorLatency both = conv.seconds > masking.seconds ? conv : masking;
    if (!leaves_room(operation.tile, operation.work)) {
      both = {};
      both.add(conv);
      both.add(masking);
    }
    const double branch = context_.hardware.cost(CudaUnit::branch);
    both.seconds += branch;
    both.launch_s += branch;
    both.name = "masker_conv1";
    return both;
  }

  const BlockActivity& activity_;
};

class BlockPricer final : public Pricer {
 public:
  BlockPricer(const BlockSpec& block, const BlockGeometry& geometry, const CudaContext& context,
              const BlockActivity& activity)
      : Pricer(context, activity), block_(block), geometry_(geometry) {}

 private:
  MapSize map_of(cuda::ListKind list) const {
    if (list == cuda::ListKind::patches) return {geometry_.grid.rows(), geometry_.grid.cols()};
    return list == cuda::ListKind::dilated ? geometry_.middle : geometry_.output;
  }

  double pixels(const Operation& operation, const ActiveCounts& outcome) const override {
    const cuda::PixelSet& over = operation.over;
    const double map = pixels_of(map_of(over.list));
    if (over.everything || over.list == cuda::ListKind::projected) return images() * map;
    if (over.whole_images) return outcome.images * map;
    return over.list == cuda::ListKind::dilated ? outcome.dilated : outcome.active;
  }

  CudaCounts counts(const Operation& operation, const ActiveCounts& outcome) const override {
    switch (operation.kind) {
      case OperationKind::masker:
      case OperationKind::masker_group:
        return masker(operation, outcome);
      case OperationKind::build_lists: {
        std::vector<MapSize> maps;
        for (const cuda::ListBuild& list : operation.lists) maps.push_back(map_of(list.kind));
        return list_counts(images(), maps);
      }
      case OperationKind::fill:
        return stream_counts(output_bytes(), output_bytes(), false);
      case OperationKind::add_relu:
        return stream_counts(3 * output_bytes(), 2 * output_bytes(), false);
      case OperationKind::gather_patches: {
        const auto side =
            static_cast<double>(halo_side(geometry_.grid.granularity, geometry_.dilation_stride));
        const double moved =
            2 * outcome.patches * (side * side * padded_channels(block_.convs[0].out_channels) * bytes());
        return stream_counts(moved, moved, true);
      }
      case OperationKind::gathered_pixels: {
        const double moved = 2 * sizeof(int32_t) * pixels(operation, outcome);
        return stream_counts(moved, moved, true);
      }
      case OperationKind::mean:
        return mean_counts(operation.over.everything ? images() : outcome.images, pixels(operation, outcome),
                           squeeze_pitch(), context_.precision, context_.hardware.multiprocessors);
      case OperationKind::excite:
        return excite_counts(images(), block_.squeeze_excite->channels,
                             block_.squeeze_excite->squeeze_channels, context_.hardware.multiprocessors);
      case OperationKind::scale_pixels: {
        const double listed = pixels(operation, outcome) * squeeze_pitch() * bytes();
        return stream_counts(2 * listed, listed, true);
      }
      default:
        fail("internal error: {} is no operation of a block", operation.name);
    }
  }

  CudaCounts masker(const Operation& operation, const ActiveCounts& outcome) const {
    const int side = geometry_.grid.granularity * block_.stride, pitch = padded_channels(block_.in_channels);
    if (operation.kind == OperationKind::masker)
      return masker_counts(images(), geometry_.input, pitch, side, context_.precision);
    const double all = images() * static_cast<double>(geometry_.grid.patches());
    return masker_group_counts(images(), operation.masker.refreshes ? outcome.patches : all,
                               operation.masker.blocks, geometry_.input, pitch, side, context_.precision);
  }

  int squeeze_pitch() const { return padded_channels(block_.squeeze_excite->channels); }
  double output_bytes() const {
    return static_cast<double>(bordered_pixels(geometry_.output, context_.batch)) *
           padded_channels(block_.out_channels) * bytes();
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
};

/// Prices what comes before and after the blocks.
class FixedPricer final : public Pricer {
 public:
  FixedPricer(const ModelSpec& spec, const NetworkGeometry& geometry, const CudaContext& context,
              const BlockActivity& always)
      : Pricer(context, always), spec_(spec), geometry_(geometry) {}

 private:
  double pixels(const Operation&, const ActiveCounts&) const override {
    return images() * pixels_of(geometry_.stem);
  }

  CudaCounts counts(const Operation& operation, const ActiveCounts&) const override {
    const int channels = spec_.stem.in_channels, pitch = padded_channels(spec_.features);
    switch (operation.kind) {
      case OperationKind::image_to_map: {
        const int image_pitch = cuda::image_pitch(context_.precision, channels, spec_.stem.stride);
        const double image_bytes = channels * sizeof(float) + image_pitch * bytes();
        const double moved = images() * pixels_of(geometry_.input) * image_bytes;
        return stream_counts(moved, moved, true);
      }
      case OperationKind::max_pool: {
        const double values = images() * pixels_of(geometry_.stem) + images() * pixels_of(geometry_.trunk);
        const double maps = values * padded_channels(spec_.stem.out_channels) * bytes();
        return stream_counts(maps, maps, true);
      }
      case OperationKind::mean:
        return mean_counts(images(), images() * pixels_of(geometry_.blocks.back().output), pitch,
                           context_.precision, context_.hardware.multiprocessors);
      case OperationKind::head:
        return head_counts(images(), spec_.arch.classes, pitch);
      default:
        fail("internal error: {} is no operation beside the blocks", operation.name);
    }
  }

  const ModelSpec& spec_;
  const NetworkGeometry& geometry_;
};

}  // namespace

double kernel_seconds(const CudaCounts& counts, const CudaHardware& hardware) {
  double added = 0, longest = 0;
  for (int i = 0; i < kCudaUnits; ++i) {
    const auto unit = static_cast<CudaUnit>(i);
    const double seconds = seconds_of(unit, counts, hardware);
    is_added(unit) ? added += seconds : longest = std::max(longest, seconds);
  }
  return added + longest;
}

CudaCounts stream_counts(double bytes, double footprint_bytes, bool waits) {
  CudaCounts counts = counts_of({{CudaUnit::wait, waits ? 1 : 0}, {CudaUnit::stream, bytes * kMega}});
  counts.footprint_mb = footprint_bytes * kMega;
  return counts;
}

CudaCounts masker_counts(double images, MapSize input, int pitch, int side, Precision precision) {
  const auto patches = [&](int64_t length) { return ceil_div(static_cast<double>(length), side); };
  const double count = images * patches(input.height) * patches(input.width);
  const double pixels = images * pixels_of(input);
  return patch_counts(count, pixels, pixels, pitch, side, precision);
}

CudaCounts masker_group_counts(double images, double patches, int maskers, MapSize input, int pitch, int side,
                               Precision precision) {
  const double pixels = patches * static_cast<double>(std::min<int64_t>(side, input.height) *
                                                      std::min<int64_t>(side, input.width));
  CudaCounts counts = patch_counts(patches, pixels, images * pixels_of(input), pitch, side, precision);
  const double sums = patches * (cuda::is_small_patch(side) ? 1 : cuda::kMaskerWarps);
  counts[CudaUnit::masker_product] =
      sums * ceil_div(maskers, cuda::kMaskerWarps) * cuda::kMaskerWarps * ceil_div(pitch, 32) * kKilo;
  return counts;
}

CudaCounts list_counts(double images, const std::vector<MapSize>& maps) {
  double chunks = 0, longest = 0, fullest = 0;
  for (const MapSize& map : maps) {
    const double units =
        static_cast<double>(map.height) * ceil_div(static_cast<double>(map.width), cuda::kUnitPixels);
    const double own = images * ceil_div(units, cuda::kChunkUnits);
    chunks += own;
    longest = std::max(longest, own);
    fullest = std::max(fullest, std::min<double>(units, cuda::kChunkUnits) * cuda::kUnitPixels);
  }
  return counts_of({{CudaUnit::list, 1},
                    {CudaUnit::list_look_back, longest > 1 ? 1 : 0},
                    {CudaUnit::list_pixel, fullest * kKilo},
                    {CudaUnit::list_chunk, chunks * kKilo}});
}

CudaCounts mean_counts(double images, double pixels, int pitch, Precision precision, int multiprocessors) {
  const double megabytes = pixels * pitch * element_bytes(precision) * kMega;
  const double rounds = ceil_div(images * ceil_div(pitch, 32), cuda::kMeanBlocks * multiprocessors);
  const double of_warp = ceil_div(pixels / std::max(images, 1.0), cuda::kMeanWarps);
  CudaCounts counts = counts_of(
      {{CudaUnit::stream, megabytes}, {CudaUnit::mean_step, rounds * ceil_div(of_warp, cuda::kMeanReads)}});
  counts.footprint_mb = megabytes;
  return counts;
}

CudaCounts excite_counts(double images, int channels, int squeezed, int multiprocessors) {
  const double rounds = ceil_div(images, cuda::kExciteBlocks * multiprocessors);
  const auto layer = [](int outputs, int inputs) {
    return ceil_div(outputs, cuda::kExciteOutputs) * ceil_div(inputs, cuda::kExciteInputs);
  };
  return counts_of(
      {{CudaUnit::excite_step, rounds * (layer(squeezed, channels) + layer(channels, squeezed))}});
}

CudaCounts head_counts(double images, int classes, int pitch) {
  const cuda::HeadShape& shape = cuda::kHeadShapes[cuda::head_shape_of(static_cast<int>(images))];
  const double own_classes = cuda::kHeadClassWarps * shape.classes;
  const double own_images = shape.image_warps * shape.images;
  const double floats =
      pitch * (ceil_div(images, own_images) * classes + ceil_div(classes, own_classes) * images);
  return counts_of({{CudaUnit::head, floats * sizeof(float) * kMega},
                    {CudaUnit::head_step, ceil_div(pitch, cuda::kHeadStep)}});
}

std::vector<OperatorLatency> cuda_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                               const CudaContext& context) {
  const BlockActivity everything{.scenarios = {full_counts(geometry, context.batch)}};
  return BlockPricer(block, geometry, context, everything)
      .rows(cuda::static_program(block, geometry, context.batch, context.target()));
}

std::vector<OperatorLatency> cuda_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                const CudaContext& context, const BlockActivity& activity,
                                                const BlockSchedule& plan, const CudaMaskerShare& masker) {
  return BlockPricer(block, geometry, context, activity)
      .rows(cuda::dynamic_program(block, geometry, context.batch, plan, masker, context.target()));
}

std::vector<OperatorLatency> cuda_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const CudaContext& context) {
  const BlockActivity always{.scenarios = {ActiveCounts{}}};
  const FixedPricer pricer(spec, geometry, context, always);
  std::vector<OperatorLatency> rows =
      pricer.rows(cuda::stem_program(spec, geometry, context.batch, context.target()));
  for (OperatorLatency& row : pricer.rows(cuda::head_program(spec))) rows.push_back(std::move(row));
  return rows;
}

}  // namespace lasnet
