#include "backends/cpu/prices.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>

#include "backends/cpu/channel_blocks.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/register_tile.h"
#include "backends/cpu/tiling.h"
#include "base/fail.h"
#include "base/math.h"
#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

constexpr double kBytesPerUnit = 4, kKilo = 1000;
/// Share of a cache that a working set may take before it is counted to the next level: others use it too.
constexpr double kUsableCache = 0.75;

int64_t whole(double count) { return std::llround(count); }

/// What kernels read maps and weights in: units of four bytes, which are a float or four int8 channels.
struct KernelUnits {
  RegisterTile tile;
  int channels = 1;  ///< of a unit
  /// Of maskers of bytes: what deciding about a patch takes, in channels of sums that are multiplied.
  double decision_channels = 0;

  int64_t of(int64_t all_channels) const { return ceil_div(all_channels, channels); }
  /// Units between the pixels of a map.
  int64_t pitch(int64_t all_channels) const { return map_pitch(of(all_channels)); }
};

KernelUnits kernel_units(const CpuHardware& cpu) {
  if (cpu.precision() == Precision::int8)
    return {.tile = int8_register_tile(cpu.int8_kernels), .channels = kWordBytes, .decision_channels = 256};
  return {.tile = register_tile(cpu.isa)};
}

/// A convolution as the kernels see it.
struct ConvShape {
  std::vector<ChannelBlock> blocks;
  int taps = 1;
  int64_t in_pitch = 0;
  bool first_layer = false;

  double weight_bytes() const {
    double units = 0;
    for (const ChannelBlock& block : blocks) units += static_cast<double>(taps) * block.run * block.width;
    return kBytesPerUnit * units;
  }
  int64_t reduction() const {
    int longest = 0;
    for (const ChannelBlock& block : blocks) longest = std::max(longest, block.run);
    return int64_t{taps} * longest;
  }
};

/// `in_pitch`: units between the pixels of its input.
ConvShape conv_shape(const ConvSpec& conv, int64_t in_pitch, const KernelUnits& units) {
  const GroupedShape grouped{conv.groups, conv.out_channels, conv.in_channels / conv.groups};
  ConvShape shape{
      .blocks = in_units(cut_channel_blocks(grouped, units.tile.block_width(), units.tile.vector_width),
                         units.channels),
      .taps = conv.kernel * conv.kernel,
      .in_pitch = in_pitch};
  if (merges_rows(conv, in_pitch, units.of(conv.in_channels))) {
    shape.taps = conv.kernel;
    for (ChannelBlock& block : shape.blocks) block.run *= conv.kernel;
  }
  return shape;
}

/// Contiguous pieces of one pixel's reduction: cut where a tap ends and where a slice does.
double segments(int64_t taps, int64_t run) {
  const int64_t reduction = taps * run;
  const int64_t coinciding = (reduction - 1) / std::lcm(run, kReductionSlice);
  return static_cast<double>(ceil_div(reduction, kReductionSlice) + taps - 1 - coinciding);
}

/// Register tiles of a task of `pixels`, cut evenly as the kernels do.
struct TileCount {
  double tiles = 0;
  double cycles = 0;  ///< per reduction step
};

TileCount count_tiles(int64_t pixels, int vectors, const RegisterTile& tile) {
  if (pixels == 0) return {};
  const int64_t tiles = ceil_div(pixels, tile.full_pixels(vectors));
  const int64_t larger = ceil_div(pixels, tiles), smaller_tiles = tiles * larger - pixels;
  return {
      static_cast<double>(tiles),
      static_cast<double>(tiles - smaller_tiles) * RegisterTile::cycles(static_cast<int>(larger), vectors) +
          static_cast<double>(smaller_tiles) *
              RegisterTile::cycles(std::max(1, static_cast<int>(larger) - 1), vectors)};
}

/// The work of one convolution over a number of pixels.
class ConvCounter {
 public:
  ConvCounter(const ConvShape& shape, const CpuContext& context, int64_t pixels)
      : shape_(shape),
        context_(context),
        tile_(kernel_units(context.hardware).tile),
        pixels_(pixels),
        tiling_(tile_conv({.pixels = pixels,
                           .reduction = shape.reduction(),
                           .input_channels = shape.in_pitch,
                           .channel_blocks = static_cast<int>(shape.blocks.size()),
                           .threads = context.threads})) {}

  OperatorWork count() const {
    OperatorWork work;
    if (pixels_ == 0) return work;
    count_arithmetic(work);
    count_weights(work);
    if (context_.threads > 1) work[WorkUnit::loop] += 1;
    work.tile =
        fmt::format("{} pixels x {} channels, tasks of {} x {}", tile_.full_pixels(tile_.vectors),
                    tile_.block_width(), tiling_.pixels, tiling_.channel_blocks * tile_.block_width());
    return work;
  }

 private:
  int64_t pixel_tasks() const { return ceil_div(pixels_, tiling_.pixels); }
  int64_t tasks() const {
    return pixel_tasks() * ceil_div(static_cast<int64_t>(shape_.blocks.size()), tiling_.channel_blocks);
  }
  /// Share of divisible work that the busiest thread has.
  double busiest_share() const {
    return static_cast<double>(ceil_div(tasks(), context_.threads)) / static_cast<double>(tasks());
  }

  void count_arithmetic(OperatorWork& work) const {
    const int64_t rest = pixels_ - (pixel_tasks() - 1) * tiling_.pixels;
    const auto full_tasks = static_cast<double>(pixel_tasks() - 1);
    const double full_cycles = RegisterTile::cycles(tile_.full_pixels(tile_.vectors), tile_.vectors);
    double useful = 0;
    for (const ChannelBlock& block : shape_.blocks) {
      const int vectors = block.width / tile_.vector_width;
      const TileCount full = count_tiles(tiling_.pixels, vectors, tile_),
                      last = count_tiles(rest, vectors, tile_);
      const double tiles = full_tasks * full.tiles + last.tiles;
      const double cycles = full_tasks * full.cycles + last.cycles;
      const int64_t reduction = int64_t{shape_.taps} * block.run;
      work[WorkUnit::tile_step] += cycles / full_cycles * static_cast<double>(reduction) * busiest_share();
      work[WorkUnit::tile] +=
          tiles * static_cast<double>(ceil_div(reduction, kReductionSlice)) * busiest_share();
      work[WorkUnit::run] += tiles * segments(shape_.taps, block.run) * busiest_share();
      useful += static_cast<double>(pixels_ * vectors * reduction) / (2.0 * full_cycles) *
                busiest_share();  // at two multiply-adds per cycle
    }
    work.utilisation = std::min(1.0, useful / work[WorkUnit::tile_step]);
  }

  void count_weights(OperatorWork& work) const {
    const double kilobytes = shape_.weight_bytes() / kKilo;
    const double again = static_cast<double>(pixel_tasks() - 1) * kilobytes * busiest_share();
    work[context_.cold_weights ? WorkUnit::weight_memory : WorkUnit::weight_l3] += kilobytes;
    const double kib = shape_.weight_bytes() / 1024;
    const CpuHardware& cpu = context_.hardware;
    const WorkUnit level = kib <= kUsableCache * cpu.l2_kib   ? WorkUnit::weight_l2
                           : kib <= kUsableCache * cpu.l3_kib ? WorkUnit::weight_l3
                                                              : WorkUnit::weight_memory;
    work[level] += again;
    if (pixels_ <= tile_.full_pixels(tile_.vectors)) work[WorkUnit::weight_single] += kilobytes;
  }

  const ConvShape& shape_;
  const CpuContext& context_;
  RegisterTile tile_;
  int64_t pixels_;
  ConvTiling tiling_;
};

/// Pixels of a map that an operation reads or writes.
struct MapTraffic {
  double pixels;
  MapSize map;
  int64_t channels;
};

/// Counts the operations of a block, one by one, under one outcome of its mask.
class OperationCounter {
 public:
  OperationCounter(const CpuBlockPrice& of, const ActiveCounts& counts, MaskOutcome outcome)
      : block_(of.block),
        geometry_(of.geometry),
        context_(of.context),
        program_(of.program),
        counts_(counts),
        units_(kernel_units(of.context.hardware)) {
    if (outcome == MaskOutcome::partial && program_.band_patch_rows > 0) {
      bands_ = context_.batch * ceil_div(geometry_.grid.rows(), program_.band_patch_rows);
    }
  }

  OperatorWork count(const CpuOperation& operation) const {
    OperatorWork work;
    switch (operation.op) {
      case CpuOperator::masker:
        work = masker();
        break;
      case CpuOperator::lists:
        work = lists();
        break;
      case CpuOperator::gather:
        work = gather();
        break;
      case CpuOperator::conv:
        work = conv(operation);
        break;
      case CpuOperator::squeeze_excite:
        work = squeeze_excite(operation);
        break;
      case CpuOperator::projection:
        work = projection();
        break;
      case CpuOperator::scatter_add:
        work = scatter_add();
        break;
    }
    work.name = to_string(operation);
    return work;
  }

 private:
  double per_thread() const { return 1.0 / context_.threads; }
  double parallel_loop() const { return context_.threads > 1 ? 1 : 0; }
  double all_pixels(MapSize map) const { return static_cast<double>(context_.batch * map.pixels()); }

  /// Pixels of a map, of the block's middle or output.
  double pixels_of(PixelSet set, MapSize map) const {
    switch (set) {
      case PixelSet::dilated:
        return counts_.dilated;
      case PixelSet::active:
        return counts_.active;
      case PixelSet::active_images:
        return counts_.images * static_cast<double>(map.pixels());
      default:
        return all_pixels(map);
    }
  }

  /// Map traffic of an operation, at the level that all its maps together fit.
  void add_maps(OperatorWork& work, std::initializer_list<MapTraffic> maps) const {
    double kib = 0, bytes = 0;
    for (const MapTraffic& traffic : maps) {
      const double pixel_bytes = kBytesPerUnit * static_cast<double>(units_.pitch(traffic.channels));
      kib += pixel_bytes * static_cast<double>(context_.batch * traffic.map.pixels()) / 1024;
      bytes += pixel_bytes * traffic.pixels;
    }
    const CpuHardware& cpu = context_.hardware;
    const WorkUnit level = bands_ > 1 || kib <= kUsableCache * cpu.l2_kib ? WorkUnit::map_l2
                           : kib <= kUsableCache * cpu.l3_kib             ? WorkUnit::map_l3
                                                                          : WorkUnit::map_memory;
    const double share = level == WorkUnit::map_memory ? 1 : per_thread();
    work[level] += bytes / kKilo * share;
    work.bytes += bytes;
  }

  OperatorWork convolution(const ConvSpec& conv, double pixels) const {
    const ConvShape shape = conv_shape(conv, units_.pitch(conv.in_channels), units_);
    const auto bands = static_cast<double>(bands_);
    OperatorWork work = ConvCounter(shape, context_, whole(std::ceil(pixels / bands))).count();
    for (double& count : work.counts) count *= bands;
    if (bands_ > 1) {  // weights come from memory once, for the other bands from nearer
      const WorkUnit first = context_.cold_weights ? WorkUnit::weight_memory : WorkUnit::weight_l3;
      const double again = work[first] * (1 - 1 / bands);
      work[first] -= again;
      work[WorkUnit::weight_l2] += again;
    }
    work.pixels = pixels;
    work.macs = pixels * static_cast<double>(conv.weight_count());
    work.bytes = shape.weight_bytes();
    return work;
  }

  OperatorWork masker() const {
    OperatorWork work;
    const auto channels = static_cast<double>(block_.in_channels);
    const double pixels = all_pixels(geometry_.input);
    const auto patches = static_cast<double>(context_.batch * geometry_.grid.patches());
    work.pixels = patches;
    work.macs = 2 * patches * channels;
    work[WorkUnit::loop] = parallel_loop();
    const PatchSumUse& sums = program_.sums;
    const double values = sums.reads ? patches * sums.cells * channels : pixels * channels;
    double multiplied = patches * channels, pooled = values;
    if (context_.hardware.precision() ==
        Precision::int8) {  // which multiplies the values of a map one by one
      multiplied = patches * units_.decision_channels + (sums.reads ? values : 0);
      pooled = sums.reads ? 0 : values;
    }
    work[WorkUnit::masker_patch] = multiplied / kKilo * per_thread();
    work[WorkUnit::masker_value] = pooled / kKilo * per_thread();
    if (!sums.reads) add_maps(work, {{pixels, geometry_.input, block_.in_channels}});
    if (!sums.computes) return work;
    work[WorkUnit::patch_sum] = pixels * channels / kKilo * per_thread();
    work[WorkUnit::loop] += parallel_loop();
    add_maps(work, {{pixels, geometry_.input, block_.in_channels}});
    return work;
  }

  OperatorWork lists() const {
    OperatorWork work;
    const double projected = block_.projection ? all_pixels(geometry_.output) : 0;
    work.pixels = counts_.active + counts_.dilated + projected;
    work[WorkUnit::list_pixel] = work.pixels / kKilo;
    const auto patch_rows =
        static_cast<double>(std::min<int64_t>(geometry_.grid.granularity, geometry_.output.height));
    work[WorkUnit::list_row] =
        counts_.patches * patch_rows +
        static_cast<double>(context_.batch * (geometry_.middle.height + geometry_.grid.rows()));
    return work;
  }

  /// Patches with their halo, for the 3x3 after the dilated mask.
  OperatorWork gather() const {
    OperatorWork work;
    const ConvSpec& conv = block_.convs[1];
    const auto side = static_cast<double>(halo_side(geometry_.grid.granularity, conv.stride));
    work.pixels = counts_.patches * side * side;
    add_maps(work, {{2 * work.pixels, geometry_.middle, conv.in_channels}});
    work[WorkUnit::list_row] = counts_.patches * side * per_thread();
    work[WorkUnit::list_pixel] = counts_.active / kKilo * per_thread();
    work[WorkUnit::loop] = parallel_loop();
    return work;
  }

  OperatorWork conv(const CpuOperation& operation) const {
    if (operation.masker_beside) return conv_with_masker();
    const bool is_last = static_cast<size_t>(operation.conv) + 1 == block_.convs.size();
    return is_last ? last_conv(operation) : inner_conv(operation);
  }

  /// convs[0] on every pixel, with each pixel's dot product.
  OperatorWork conv_with_masker() const {
    const ConvSpec& conv = block_.convs[0];
    const double pixels = all_pixels(geometry_.middle);
    OperatorWork work = convolution(conv, pixels);
    work.macs += 2 * static_cast<double>(context_.batch * geometry_.grid.patches() * block_.in_channels);
    work[WorkUnit::masker_patch] += pixels * block_.in_channels / kKilo * per_thread();
    work[WorkUnit::list_pixel] += pixels / kKilo;  // averaged over patches by one thread
    add_maps(work,
             {{pixels, geometry_.input, conv.in_channels}, {pixels, geometry_.middle, conv.out_channels}});
    return work;
  }

  OperatorWork inner_conv(const CpuOperation& operation) const {
    const ConvSpec& conv = block_.convs[static_cast<size_t>(operation.conv)];
    const bool first = operation.conv == 0;
    const MapSize in = first ? geometry_.input : geometry_.middle;
    const MapSize out = first ? geometry_.middle : geometry_.output;
    const double pixels = pixels_of(operation.over, out);
    OperatorWork work = convolution(conv, pixels);
    // A 3x3 that follows the dilated mask reads its pixels, a strided one every pixel of its windows.
    double read = pixels;
    if (first && conv.kernel > 1) read *= conv.stride * conv.stride;
    if (!first) read = pixels_of(operation.over == PixelSet::active ? PixelSet::dilated : operation.over, in);
    add_maps(work, {{read, in, conv.in_channels}, {pixels, out, conv.out_channels}});
    return work;
  }

  OperatorWork last_conv(const CpuOperation& operation) const {
    const ConvSpec& last = block_.convs.back();
    const double pixels = pixels_of(operation.over, geometry_.output);
    OperatorWork work = convolution(last, pixels);
    const bool adds = operation.output == ConvOutput::add_relu;
    const bool in_registers = adds && block_.projection;  // the projection's sums still are
    const double written = in_registers ? 0 : (adds ? 2 : 1) * pixels;
    add_maps(work,
             {{pixels, geometry_.output, last.in_channels}, {written, geometry_.output, last.out_channels}});
    if (in_registers && work[WorkUnit::loop] > 0) work[WorkUnit::loop] -= 1;  // one loop with the projection
    if (program_.sums.keeps) {
      const bool all = block_.projection.has_value();  // which writes every patch
      const double summed = all ? all_pixels(geometry_.output) : pixels;
      const double patches =
          all ? static_cast<double>(context_.batch * geometry_.grid.patches()) : counts_.patches;
      work[WorkUnit::patch_sum] += summed * last.out_channels / kKilo * per_thread();
      work[WorkUnit::list_row] += patches * per_thread();
    }
    return work;
  }

  OperatorWork projection() const {
    const double pixels = all_pixels(geometry_.output);
    OperatorWork work = convolution(*block_.projection, pixels);
    add_maps(work, {{pixels, geometry_.input, block_.projection->in_channels},
                    {pixels, geometry_.output, block_.projection->out_channels}});
    return work;
  }

  OperatorWork scatter_add() const {
    OperatorWork work;
    const int channels = block_.convs.back().out_channels;
    work.pixels = all_pixels(geometry_.output);
    const double twice = 2 * work.pixels;  // zeros and the sum; the addend and y
    work[WorkUnit::channel_value] = twice * channels / kKilo * per_thread();
    add_maps(work, {{twice, geometry_.output, channels}, {twice, geometry_.output, channels}});
    work[WorkUnit::loop] = 2 * parallel_loop();
    return work;
  }

  OperatorWork squeeze_excite(const CpuOperation& operation) const {
    const SqueezeExciteSpec& spec = *block_.squeeze_excite;
    OperatorWork work;
    const auto channels = static_cast<double>(spec.channels);
    work.pixels = pixels_of(operation.over, geometry_.output);
    const double pooled =
        block_.pools_densely() ? pixels_of(PixelSet::active_images, geometry_.output) : work.pixels;
    work[WorkUnit::channel_value] = (pooled + 2 * work.pixels) * channels / kKilo * per_thread();
    work[WorkUnit::loop] = 3 * parallel_loop();
    for (const auto& [in, out] :
         {std::pair(spec.channels, spec.squeeze_channels), std::pair(spec.squeeze_channels, spec.channels)}) {
      const ConvSpec layer{.name = {}, .norm_name = {}, .in_channels = in, .out_channels = out};
      const ConvShape shape = conv_shape(layer, units_.of(in), units_);
      const OperatorWork fc = ConvCounter(shape, context_, whole(counts_.images)).count();
      for (int i = 0; i < kWorkUnits; ++i)
        work.counts[static_cast<size_t>(i)] += fc.counts[static_cast<size_t>(i)];
    }
    work.macs = counts_.images * static_cast<double>(spec.macs());
    return work;
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
  const CpuContext& context_;
  const CpuBlockProgram& program_;
  const ActiveCounts& counts_;
  KernelUnits units_;
  int64_t bands_ = 1;
};

double weight_count(const ModelSpec& spec) {
  auto count =
      static_cast<double>(spec.stem.weight_count()) + static_cast<double>(spec.features) * spec.arch.classes;
  for (const BlockSpec& block : spec.blocks) {
    for (const ConvSpec& conv : block.convs) count += static_cast<double>(conv.weight_count());
    if (block.projection) count += static_cast<double>(block.projection->weight_count());
    if (block.squeeze_excite) count += static_cast<double>(block.squeeze_excite->macs());
  }
  return count;
}

}  // namespace

CpuContext cpu_context(const ModelSpec& spec, const CpuHardware& hardware, int64_t batch, int threads) {
  const double kib = kBytesPerUnit / kernel_units(hardware).channels * weight_count(spec) / 1024;
  return {.hardware = hardware,
          .batch = batch,
          .threads = threads,
          .cold_weights = kib > kUsableCache * hardware.l3_kib};
}

std::vector<OperatorWork> block_work(const CpuBlockPrice& of, const ActiveCounts& counts,
                                     MaskOutcome outcome) {
  const OperationCounter counter(of, counts, outcome);
  std::vector<OperatorWork> work;
  if (outcome != MaskOutcome::unmasked) {
    for (const CpuOperation& operation : of.program.masking) work.push_back(counter.count(operation));
  }
  for (const CpuOperation& operation : of.program.body(outcome)) work.push_back(counter.count(operation));
  work.back()[WorkUnit::block] += 1;
  return work;
}

std::vector<OperatorWork> unmasked_work(const CpuBlockPrice& of) {
  return block_work(of, full_counts(of.geometry, of.context.batch), MaskOutcome::unmasked);
}

std::vector<OperatorWork> masked_work(const CpuBlockPrice& of, const ActiveCounts& counts) {
  const auto pixels = static_cast<double>(of.context.batch * of.geometry.output.pixels());
  return block_work(of, counts, of.program.outcome(counts.active, pixels, counts.everything));
}

std::vector<OperatorWork> fixed_work(const ModelSpec& spec, const NetworkGeometry& geometry,
                                     const CpuContext& context) {
  const KernelUnits units = kernel_units(context.hardware);
  const auto images = static_cast<double>(context.batch);
  const double per_thread = 1.0 / context.threads;
  std::vector<OperatorWork> operators;
  const ConvShape stem = conv_shape(spec.stem, units.of(spec.stem.in_channels), units);
  operators.push_back(ConvCounter(stem, context, context.batch * geometry.stem.pixels()).count());
  operators.back().name = "stem";
  operators.back().pixels = images * static_cast<double>(geometry.stem.pixels());
  operators.back().macs = operators.back().pixels * static_cast<double>(spec.stem.weight_count());
  operators.back()[WorkUnit::channel_value] +=
      images * static_cast<double>(geometry.input.pixels() * spec.stem.in_channels) / kKilo * per_thread;
  if (spec.stem_pool) {
    OperatorWork& pool = operators.emplace_back(OperatorWork{.name = "stem_pool"});
    pool[WorkUnit::channel_value] = 9 * images *
                                    static_cast<double>(geometry.trunk.pixels() * spec.stem.out_channels) /
                                    kKilo * per_thread;
  }
  if (!spec.has_head()) return operators;
  OperatorWork& head_pool = operators.emplace_back(OperatorWork{.name = "head_pool"});
  head_pool[WorkUnit::channel_value] =
      images * static_cast<double>(geometry.blocks.back().output.pixels() * spec.features) / kKilo *
      per_thread;
  const ConvSpec fc{
      .name = {}, .norm_name = {}, .in_channels = spec.features, .out_channels = spec.arch.classes};
  operators.push_back(
      ConvCounter(conv_shape(fc, units.of(spec.features), units), context, context.batch).count());
  operators.back().name = "head";
  operators.back().pixels = images;
  operators.back().macs = images * static_cast<double>(fc.weight_count());
  return operators;
}

double expected_seconds(const CpuBlockPrice& of, const BlockActivity& activity) {
  return activity.mean([&](const ActiveCounts& counts) {
    return seconds(total(masked_work(of, counts)), of.context.hardware);
  });
}

double whole_map_break_even(const CpuBlockPrice& of) {
  constexpr int kBisections = 7;
  constexpr double kNever = 2;
  if (of.program.body(MaskOutcome::crowded) == of.program.body(MaskOutcome::partial)) return kNever;
  const DilationHistogram dilation(of.geometry);
  const auto images = static_cast<double>(of.context.batch);
  const auto gain = [&](double rate) {
    ActiveCounts counts = full_counts(of.geometry, of.context.batch);
    counts.patches *= rate;
    counts.active *= rate;
    counts.dilated = images * dilation.expected(rate);
    const auto time_of = [&](MaskOutcome outcome) {
      return seconds(total(block_work(of, counts, outcome)), of.context.hardware);
    };
    return time_of(MaskOutcome::partial) - time_of(MaskOutcome::crowded);
  };
  double low = 0.5, high = 1;
  if (gain(high) < 0) return kNever;
  for (int i = 0; i < kBisections; ++i) {
    const double rate = (low + high) / 2;
    (gain(rate) < 0 ? low : high) = rate;
  }
  return high;
}

WorkCounts total(const std::vector<OperatorWork>& operators) {
  WorkCounts sum = {};
  for (const OperatorWork& work : operators) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += work.counts[i];
  }
  return sum;
}

double seconds(const WorkCounts& counts, const CpuHardware& hardware) {
  return std::inner_product(counts.begin(), counts.end(), hardware.seconds_per.begin(), 0.0);
}

}  // namespace lasnet
