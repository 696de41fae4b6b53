#include "latency/cpu_work.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/fail.h"
#include "schedule/channel_blocks.h"
#include "schedule/register_tile.h"
#include "schedule/schedule.h"

namespace lasnet {
namespace {

constexpr double kBytesPerFloat = 4, kKilo = 1000;
/// Maps lie on whole vectors of the widest instruction set.
constexpr int64_t kPitch = 16;
/// Share of a cache that a working set may take before it is counted to the next level: others use it too.
constexpr double kUsableCache = 0.75;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t whole(double count) { return std::llround(count); }
int64_t padded(int64_t channels) { return ceil_div(channels, kPitch) * kPitch; }

/// A convolution as the kernels see it.
struct ConvShape {
  std::vector<ChannelBlock> blocks;
  int taps = 1;
  int64_t in_pitch = 0;
  bool first_layer = false;

  double weight_bytes() const {
    double floats = 0;
    for (const ChannelBlock& block : blocks) floats += static_cast<double>(taps) * block.run * block.width;
    return kBytesPerFloat * floats;
  }
  int64_t reduction() const {
    int longest = 0;
    for (const ChannelBlock& block : blocks) longest = std::max(longest, block.run);
    return int64_t{taps} * longest;
  }
};

ConvShape conv_shape(const ConvSpec& conv, int64_t in_pitch, const RegisterTile& tile) {
  ConvShape shape{
      .blocks = cut_channel_blocks({conv.groups, conv.out_channels, conv.in_channels / conv.groups},
                                   tile.block_width(), tile.vector_width),
      .taps = conv.kernel * conv.kernel,
      .in_pitch = in_pitch};
  if (conv.kernel > 1 && conv.groups == 1 && in_pitch == conv.in_channels) {  // a kernel row is one run
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
        tile_(register_tile(context.hardware.isa)),
        pixels_(pixels),
        tiling_(tile_conv({.pixels = pixels,
                           .reduction = shape.reduction(),
                           .input_channels = shape.in_pitch,
                           .channel_blocks = static_cast<int>(shape.blocks.size()),
                           .threads = context.threads})) {}

  OperatorWork count(std::string name) const {
    OperatorWork work{.name = std::move(name)};
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
  }

  const ConvShape& shape_;
  const CpuContext& context_;
  RegisterTile tile_;
  int64_t pixels_;
  ConvTiling tiling_;
};

/// Counts a block's operators in the order in which they run.
class BlockCounter {
 public:
  BlockCounter(const BlockSpec& block, const BlockGeometry& geometry, const CpuContext& context)
      : block_(block), geometry_(geometry), context_(context), tile_(register_tile(context.hardware.isa)) {}

  std::vector<OperatorWork> static_block() {
    const ActiveCounts all = full_counts(geometry_, context_.batch);
    body(all, all);
    return finish();
  }

  std::vector<OperatorWork> dynamic_block(const ActiveCounts& counts, const BlockSchedule& schedule) {
    masker();
    lists(counts);
    const ActiveCounts all = full_counts(geometry_, context_.batch);
    const bool nothing = counts.active == 0;
    const bool whole = schedule.body == BodySchedule::whole_map && !nothing;
    body(whole ? all : counts, counts);
    return finish();
  }

 private:
  double per_thread() const { return 1.0 / context_.threads; }
  double parallel_loop() const { return context_.threads > 1 ? 1 : 0; }

  /// Map traffic, at the level that the whole map fits.
  void add_map(OperatorWork& work, double pixels, MapSize map, int64_t channels) const {
    const auto pitch = static_cast<double>(padded(channels));
    const double kib = kBytesPerFloat * static_cast<double>(context_.batch * map.pixels()) * pitch / 1024;
    const CpuHardware& cpu = context_.hardware;
    const WorkUnit level = kib <= kUsableCache * cpu.l2_kib   ? WorkUnit::map_l2
                           : kib <= kUsableCache * cpu.l3_kib ? WorkUnit::map_l3
                                                              : WorkUnit::map_memory;
    const double share = level == WorkUnit::map_memory ? 1 : per_thread();
    work[level] += kBytesPerFloat * pixels * pitch / kKilo * share;
  }

  OperatorWork& add_conv(const ConvSpec& conv, const std::string& name, double pixels) {
    const ConvShape shape = conv_shape(conv, padded(conv.in_channels), tile_);
    operators_.push_back(ConvCounter(shape, context_, whole(pixels)).count(name));
    return operators_.back();
  }

  void masker() {
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "masker"});
    const auto channels = static_cast<double>(block_.in_channels);
    const auto images = static_cast<double>(context_.batch);
    const double values = images * static_cast<double>(geometry_.input.pixels()) * channels;
    work[WorkUnit::masker_value] = values / kKilo * per_thread();
    work[WorkUnit::masker_patch] =
        images * static_cast<double>(geometry_.grid.patches()) * channels / kKilo * per_thread();
    add_map(work, images * static_cast<double>(geometry_.input.pixels()), geometry_.input,
            block_.in_channels);
    work[WorkUnit::loop] = parallel_loop();
  }

  void lists(const ActiveCounts& counts) {
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "lists"});
    if (counts.everything) return;
    const int64_t passes = block_.projection ? 3 : 1;
    work[WorkUnit::list_pixel] = static_cast<double>(context_.batch * (geometry_.middle.pixels() +
                                                                       passes * geometry_.output.pixels())) /
                                 kKilo;
  }

  /// `inner`: what all convolutions but the last compute; `outer`: the last.
  void body(const ActiveCounts& inner, const ActiveCounts& outer) {
    const bool dense_pool = block_.squeeze_excite && block_.squeeze_excite->pool == SePool::dense;
    ActiveCounts computed = inner;
    if (dense_pool) {
      computed.active = outer.images * static_cast<double>(geometry_.output.pixels());
      computed.dilated = outer.images * static_cast<double>(geometry_.middle.pixels());
    }
    inner_convs(computed);
    if (block_.squeeze_excite) squeeze_excite(*block_.squeeze_excite, dense_pool ? computed : outer, outer);
    if (block_.projection) projection();
    const ConvSpec& last = block_.convs.back();
    OperatorWork& work = add_conv(last, fmt::format("conv{}", block_.convs.size()), outer.active);
    add_map(work, outer.active, geometry_.output, last.in_channels);
    add_map(work, 2 * outer.active, geometry_.output, last.out_channels);  // added to in place
  }

  void inner_convs(const ActiveCounts& computed) {
    double pixels = computed.dilated, input_pixels = computed.dilated;
    MapSize in = geometry_.input, out = geometry_.middle;
    for (size_t i = 0; i + 1 < block_.convs.size(); ++i) {
      const ConvSpec& conv = block_.convs[i];
      OperatorWork& work = add_conv(conv, fmt::format("conv{}", i + 1), pixels);
      add_map(work, conv.kernel > 1 && i == 0 ? input_pixels * conv.stride * conv.stride : input_pixels, in,
              conv.in_channels);
      add_map(work, pixels, out, conv.out_channels);
      input_pixels = pixels;
      pixels = computed.active;
      in = out;
      out = geometry_.output;
    }
  }

  void projection() {
    const auto all = static_cast<double>(context_.batch * geometry_.output.pixels());
    OperatorWork& work = add_conv(*block_.projection, "projection", all);
    add_map(work, all, geometry_.input, block_.projection->in_channels);
    add_map(work, all, geometry_.output, block_.projection->out_channels);
    work[WorkUnit::loop] += parallel_loop();  // of the second list
  }

  void squeeze_excite(const SqueezeExciteSpec& spec, const ActiveCounts& pooled, const ActiveCounts& scaled) {
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "squeeze_excite"});
    const auto channels = static_cast<double>(spec.channels);
    work[WorkUnit::channel_value] = (pooled.active + 2 * scaled.active) * channels / kKilo * per_thread();
    work[WorkUnit::loop] = 3 * parallel_loop();
    for (const auto& [in, out] :
         {std::pair(spec.channels, spec.squeeze_channels), std::pair(spec.squeeze_channels, spec.channels)}) {
      const ConvSpec layer{.name = {}, .norm_name = {}, .in_channels = in, .out_channels = out};
      const ConvShape shape = conv_shape(layer, in, tile_);
      const OperatorWork fc = ConvCounter(shape, context_, whole(scaled.images)).count("fc");
      for (int i = 0; i < kWorkUnits; ++i)
        work.counts[static_cast<size_t>(i)] += fc.counts[static_cast<size_t>(i)];
    }
  }

  std::vector<OperatorWork> finish() {
    operators_.back()[WorkUnit::block] += 1;
    return std::move(operators_);
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
  const CpuContext& context_;
  RegisterTile tile_;
  std::vector<OperatorWork> operators_;
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
  const double kib = kBytesPerFloat * weight_count(spec) / 1024;
  return {.hardware = hardware,
          .batch = batch,
          .threads = threads,
          .cold_weights = kib > kUsableCache * hardware.l3_kib};
}

std::vector<OperatorWork> static_work(const BlockSpec& block, const BlockGeometry& geometry,
                                      const CpuContext& context) {
  return BlockCounter(block, geometry, context).static_block();
}

std::vector<OperatorWork> dynamic_work(const BlockSpec& block, const BlockGeometry& geometry,
                                       const CpuContext& context, const ActiveCounts& counts,
                                       const BlockSchedule& schedule) {
  return BlockCounter(block, geometry, context).dynamic_block(counts, schedule);
}

std::vector<OperatorWork> fixed_work(const ModelSpec& spec, const NetworkGeometry& geometry,
                                     const CpuContext& context) {
  const RegisterTile tile = register_tile(context.hardware.isa);
  const auto images = static_cast<double>(context.batch);
  const double per_thread = 1.0 / context.threads;
  std::vector<OperatorWork> operators;
  const ConvShape stem = conv_shape(spec.stem, spec.stem.in_channels, tile);
  operators.push_back(ConvCounter(stem, context, context.batch * geometry.stem.pixels()).count("stem"));
  operators.back()[WorkUnit::channel_value] +=
      images * static_cast<double>(geometry.input.pixels() * spec.stem.in_channels) / kKilo * per_thread;
  if (spec.stem_pool) {
    OperatorWork& pool = operators.emplace_back(OperatorWork{.name = "stem_pool"});
    pool[WorkUnit::channel_value] = 9 * images *
                                    static_cast<double>(geometry.trunk.pixels() * spec.stem.out_channels) /
                                    kKilo * per_thread;
  }
  OperatorWork& head_pool = operators.emplace_back(OperatorWork{.name = "head_pool"});
  head_pool[WorkUnit::channel_value] =
      images * static_cast<double>(geometry.blocks.back().output.pixels() * spec.features) / kKilo *
      per_thread;
  const ConvSpec fc{
      .name = {}, .norm_name = {}, .in_channels = spec.features, .out_channels = spec.arch.classes};
  operators.push_back(ConvCounter(conv_shape(fc, spec.features, tile), context, context.batch).count("head"));
  return operators;
}

double expected_seconds(const BlockSpec& block, const BlockGeometry& geometry, const CpuContext& context,
                        const BlockActivity& activity, const BlockSchedule& schedule) {
  return activity.mean([&](const ActiveCounts& counts) {
    return seconds(total(dynamic_work(block, geometry, context, counts, schedule)), context.hardware);
  });
}

std::vector<BlockSchedule> cpu_schedules(const BlockSpec& block) {
  if (!block.is_dynamic()) return {{}};
  return {{.body = BodySchedule::sparse}, {.body = BodySchedule::whole_map}};
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
