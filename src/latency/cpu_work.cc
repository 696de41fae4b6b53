#include "latency/cpu_work.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
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
    if (pixels_ <= tile_.full_pixels(tile_.vectors)) work[WorkUnit::weight_single] += kilobytes;
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

  std::vector<OperatorWork> dynamic_block(const ActiveCounts& counts, const BlockPlan& plan,
                                          const SumsRole& sums) {
    plan_ = plan;
    sums_ = sums;
    const ActiveCounts all = full_counts(geometry_, context_.batch);
    const bool whole = counts.active > 0 && counts.active >= plan.whole_map_above * all.active;
    const bool bands = plan.traversal == Traversal::row_bands && !counts.everything && !whole;
    if (bands) {
      bands_ = context_.batch * ceil_div(geometry_.grid.rows(), band_patch_rows(block_, geometry_));
    }
    masker(all);
    lists(counts);
    body(whole ? all : counts, counts);
    return finish();
  }

 private:
  double per_thread() const { return 1.0 / context_.threads; }
  double parallel_loop() const { return context_.threads > 1 ? 1 : 0; }

  /// Pixels of a map that an operator reads or writes.
  struct MapTraffic {
    double pixels;
    MapSize map;
    int64_t channels;

    double floats() const { return pixels * static_cast<double>(padded(channels)); }
    double map_kib(int64_t batch) const {
      return kBytesPerFloat * static_cast<double>(batch * map.pixels() * padded(channels)) / 1024;
    }
  };

  /// Map traffic of an operator, at the level that all its maps together fit.
  void add_maps(OperatorWork& work, std::initializer_list<MapTraffic> maps) const {
    double kib = 0, floats = 0;
    for (const MapTraffic& traffic : maps) {
      kib += traffic.map_kib(context_.batch);
      floats += traffic.floats();
    }
    const CpuHardware& cpu = context_.hardware;
    const WorkUnit level = bands_ > 1 || kib <= kUsableCache * cpu.l2_kib ? WorkUnit::map_l2
                           : kib <= kUsableCache * cpu.l3_kib             ? WorkUnit::map_l3
                                                                          : WorkUnit::map_memory;
    const double share = level == WorkUnit::map_memory ? 1 : per_thread();
    work[level] += kBytesPerFloat * floats / kKilo * share;
  }

  OperatorWork& add_conv(const ConvSpec& conv, const std::string& name, double pixels) {
    const ConvShape shape = conv_shape(conv, padded(conv.in_channels), tile_);
    const auto bands = static_cast<double>(bands_);
    OperatorWork work = ConvCounter(shape, context_, whole(std::ceil(pixels / bands))).count(name);
    for (double& count : work.counts) count *= bands;
    if (bands_ > 1) {  // weights come from memory once, for the other bands from nearer
      const WorkUnit first = context_.cold_weights ? WorkUnit::weight_memory : WorkUnit::weight_l3;
      const double again = work[first] * (1 - 1 / bands);
      work[first] -= again;
      work[WorkUnit::weight_l2] += again;
    }
    operators_.push_back(std::move(work));
    return operators_.back();
  }

  void masker(const ActiveCounts& all) {
    if (plan_.masker == MaskerSchedule::with_conv1) {
      conv1_with_dots(all);
      return;
    }
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "masker"});
    const auto channels = static_cast<double>(block_.in_channels);
    const auto images = static_cast<double>(context_.batch);
    const double pixels = images * static_cast<double>(geometry_.input.pixels());
    const double patches = images * static_cast<double>(geometry_.grid.patches());
    work[WorkUnit::masker_patch] = patches * channels / kKilo * per_thread();
    work[WorkUnit::loop] = parallel_loop();
    if (!sums_.reads) {
      work[WorkUnit::masker_value] = pixels * channels / kKilo * per_thread();
      add_maps(work, {{pixels, geometry_.input, block_.in_channels}});
      return;
    }
    work[WorkUnit::masker_value] = patches * sums_.cells * channels / kKilo * per_thread();
    if (!sums_.computes) return;
    work[WorkUnit::patch_sum] = pixels * channels / kKilo * per_thread();
    work[WorkUnit::loop] += parallel_loop();
    add_maps(work, {{pixels, geometry_.input, block_.in_channels}});
  }

  /// convs[0] on every pixel, with each pixel's dot product.
  void conv1_with_dots(const ActiveCounts& all) {
    const ConvSpec& conv = block_.convs[0];
    OperatorWork& work = add_conv(conv, "masker_conv1", all.dilated);
    work[WorkUnit::masker_patch] += all.dilated * block_.in_channels / kKilo * per_thread();
    work[WorkUnit::list_pixel] += all.dilated / kKilo;  // averaged over patches by one thread
    add_maps(work, {{all.dilated, geometry_.input, conv.in_channels},
                    {all.dilated, geometry_.middle, conv.out_channels}});
  }

  void lists(const ActiveCounts& counts) {
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "lists"});
    if (counts.everything) return;
    const auto images = static_cast<double>(context_.batch);
    const double projected = block_.projection ? images * static_cast<double>(geometry_.output.pixels()) : 0;
    work[WorkUnit::list_pixel] = (counts.active + counts.dilated + projected) / kKilo;
    work[WorkUnit::list_row] =
        counts.patches *
            std::min<double>(geometry_.grid.granularity, static_cast<double>(geometry_.output.height)) +
        images * static_cast<double>(geometry_.middle.height + geometry_.grid.rows());
  }

  /// `inner`: what all convolutions but the last compute; `outer`: the last.
  void body(const ActiveCounts& inner, const ActiveCounts& outer) {
    const bool dense_pool = block_.pools_densely();
    ActiveCounts computed = inner;
    if (dense_pool) {
      computed.active = outer.images * static_cast<double>(geometry_.output.pixels());
      computed.dilated = outer.images * static_cast<double>(geometry_.middle.pixels());
    }
    inner_convs(computed, outer);
    if (block_.squeeze_excite) squeeze_excite(*block_.squeeze_excite, dense_pool ? computed : outer, outer);
    last_conv(outer);
  }

  void last_conv(const ActiveCounts& outer) {
    const ConvSpec& last = block_.convs.back();
    const std::string name = fmt::format("conv{}", block_.convs.size());
    const auto all = static_cast<double>(context_.batch * geometry_.output.pixels());
    const bool separate = plan_.scatter == ScatterSchedule::separate;
    if (block_.projection) {
      OperatorWork& projection = add_conv(*block_.projection, "projection", all);
      add_maps(projection, {{all, geometry_.input, block_.projection->in_channels},
                            {all, geometry_.output, block_.projection->out_channels}});
    }
    if (block_.convs.size() == 2) copy_patches(outer);
    OperatorWork& work = add_conv(last, name, outer.active);
    // Added to in place; a projection's sum is still in the registers.
    const bool fused = block_.projection && !separate;
    const double written = fused ? 0 : (separate ? 1 : 2) * outer.active;
    add_maps(work, {{outer.active, geometry_.output, last.in_channels},
                    {written, geometry_.output, last.out_channels}});
    if (fused && work[WorkUnit::loop] > 0) work[WorkUnit::loop] -= 1;  // one loop with the projection
    if (sums_.keeps) {
      work[WorkUnit::patch_sum] += outer.active * last.out_channels / kKilo * per_thread();
      work[WorkUnit::list_row] += outer.patches * per_thread();
    }
    if (!separate) return;
    OperatorWork& add = operators_.emplace_back(OperatorWork{.name = "scatter_add"});
    add[WorkUnit::channel_value] = 2 * all * last.out_channels / kKilo * per_thread();  // zeros, then the sum
    const double twice = 2 * all;  // zeros and the sum; the addend and y
    add_maps(add,
             {{twice, geometry_.output, last.out_channels}, {twice, geometry_.output, last.out_channels}});
    add[WorkUnit::loop] = 2 * parallel_loop();
  }

  /// Patches with their halo, for the 3x3 after the dilated mask.
  void copy_patches(const ActiveCounts& counts) {
    if (plan_.gather != GatherSchedule::copied || counts.everything) return;
    OperatorWork& work = operators_.emplace_back(OperatorWork{.name = "gather"});
    const ConvSpec& conv = block_.convs[1];
    const double side = (geometry_.grid.granularity - 1) * conv.stride + 3;
    add_maps(work, {{2 * counts.patches * side * side, geometry_.middle, conv.in_channels}});
    work[WorkUnit::list_row] = counts.patches * side * per_thread();
    work[WorkUnit::list_pixel] = counts.active / kKilo * per_thread();
    work[WorkUnit::loop] = parallel_loop();
  }

  void inner_convs(const ActiveCounts& computed, const ActiveCounts& outer) {
    double pixels = computed.dilated, input_pixels = computed.dilated;
    MapSize in = geometry_.input, out = geometry_.middle;
    for (size_t i = 0; i + 1 < block_.convs.size(); ++i) {
      const ConvSpec& conv = block_.convs[i];
      if (i == 1) copy_patches(outer);
      if (i > 0 || plan_.masker != MaskerSchedule::with_conv1) {
        OperatorWork& work = add_conv(conv, fmt::format("conv{}", i + 1), pixels);
        const double read =
            conv.kernel > 1 && i == 0 ? input_pixels * conv.stride * conv.stride : input_pixels;
        add_maps(work, {{read, in, conv.in_channels}, {pixels, out, conv.out_channels}});
      }
      input_pixels = pixels;
      pixels = computed.active;
      in = out;
      out = geometry_.output;
    }
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
  BlockPlan plan_ = {.masker = MaskerSchedule::separate};
  SumsRole sums_;
  int64_t bands_ = 1;
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
                                       const BlockPlan& plan, const SumsRole& sums) {
  return BlockCounter(block, geometry, context).dynamic_block(counts, plan, sums);
}

std::vector<SumsRole> sums_roles(const ModelSpec& spec, const NetworkGeometry& geometry,
                                 const NetworkPlan& plan) {
  std::vector<SumsRole> roles(spec.blocks.size());
  std::vector<int> map_cells;       // side of the sums' cells on each map; 0: none are kept
  std::vector<size_t> map_of;       // the map that each block reads
  std::vector<size_t> last_reader;  // of each map's sums
  map_cells.push_back(0), last_reader.push_back(0);
  size_t map = 0;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockSpec& block = spec.blocks[b];
    map_of.push_back(map);
    if (block.is_dynamic() && plan.blocks[b].masker == MaskerSchedule::pooled) {
      if (map_cells[map] == 0 && block.stride == 1) map_cells[map] = block.granularity;
      const int window = block.granularity * block.stride;
      if (map_cells[map] > 0 && window % map_cells[map] == 0) {
        const double cells = window / map_cells[map];
        roles[b].reads = true;
        roles[b].cells = cells * cells;
        last_reader[map] = b;
      }
    }
    if (!block.projection) continue;
    map = map_cells.size();
    map_cells.push_back(0), last_reader.push_back(0);
  }
  std::vector<bool> valid(map_cells.size(), false);
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const size_t x = map_of[b];
    if (roles[b].reads) {
      roles[b].computes = !valid[x];
      valid[x] = true;
    }
    const BlockSpec& block = spec.blocks[b];
    if (block.projection || map_cells[x] == 0) continue;
    const bool same_grid = geometry.blocks[b].grid.granularity == map_cells[x];
    roles[b].keeps = valid[x] && same_grid && last_reader[x] > b;
    if (!same_grid) valid[x] = false;
  }
  return roles;
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
                        const BlockActivity& activity, const BlockPlan& plan, const SumsRole& sums) {
  return activity.mean([&](const ActiveCounts& counts) {
    return seconds(total(dynamic_work(block, geometry, context, counts, plan, sums)), context.hardware);
  });
}

double whole_map_break_even(const BlockSpec& block, const BlockGeometry& geometry, const CpuContext& context,
                            const BlockPlan& plan, const SumsRole& sums) {
  constexpr int kBisections = 7;
  constexpr double kNever = 2;
  if (plan.masker == MaskerSchedule::with_conv1 && block.convs.size() == 2) return kNever;
  const DilationHistogram dilation(geometry);
  const auto images = static_cast<double>(context.batch);
  const auto gain = [&](double rate) {
    ActiveCounts counts = full_counts(geometry, context.batch);
    counts.patches *= rate;
    counts.active *= rate;
    counts.dilated = images * dilation.expected(rate);
    counts.everything = false;
    BlockPlan sparse = plan, whole = plan;
    sparse.whole_map_above = kNever;
    whole.whole_map_above = 0;
    return seconds(total(dynamic_work(block, geometry, context, counts, sparse, sums)), context.hardware) -
           seconds(total(dynamic_work(block, geometry, context, counts, whole, sums)), context.hardware);
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
