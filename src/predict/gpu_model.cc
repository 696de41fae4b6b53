#include "predict/gpu_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/fail.h"
#include "base/math.h"

namespace lasnet {
namespace {

constexpr int kChannelTiles[] = {8, 16, 32, 64, 128, 256};
constexpr int kSideTiles[] = {1, 2, 4, 7, 8, 16};
constexpr int kPatchTiles[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

/// What is computed under one outcome of the masks.
struct Load {
  double probability = 1;
  double patches = 0;        ///< of side x side output pixels, all images together
  double output_pixels = 0;  ///< written
  double input_pixels = 0;   ///< distinct ones, read
};

struct Tile {
  double channels = 0, side = 0, patches = 0;
};

/// A convolution over patches of output pixels.
struct ConvWork {
  double in = 1, out = 1, kernel = 1, stride = 1, groups = 1;
  double side = 1;    ///< of a patch, output pixels
  double writes = 1;  ///< output values moved per value: 2 if they are added in place
  std::vector<Load> loads;

  double reduction() const { return in / groups * kernel * kernel; }
};

class GpuCosts {
 public:
  explicit GpuCosts(const GpuContext& context)
      : gpu_(context.hardware),
        bytes_(context.precision == Precision::fp16 ? 2 : 4),
        lanes_(gpu_.fp32_lanes_per_engine * (context.precision == Precision::fp16 ? gpu_.fp16_rate : 1)) {}

  /// Expected time with the best tiling.
  OperatorLatency conv(std::string name, const ConvWork& work) const {
    OperatorLatency best;
    best.seconds = std::numeric_limits<double>::infinity();
    Tile tile = {};
    for (const double channels : kChannelTiles) {
      if (channels > 8 && channels >= 2 * work.out) break;
      for (const double side : kSideTiles) {
        if (side > 1 && side >= 2 * work.side) break;
        for (const double patches : kPatchTiles) {
          const double values = channels * side * side * patches;
          if (values > static_cast<double>(gpu_.accumulators_per_engine)) break;
          OperatorLatency latency = expected_conv(work, {channels, side, patches});
          if (latency.seconds >= best.seconds) continue;
          best = std::move(latency);
          tile = {channels, side, patches};
        }
      }
    }
    best.name = std::move(name);
    best.tile = fmt::format("{} channels x {} x {} pixels x {} patches", tile.channels, tile.side, tile.side,
                            tile.patches);
    return best;
  }

  /// An operator that moves bytes and computes little: `values` multiply-adds, `floats` moved off-chip in
  /// runs of `run` floats.
  OperatorLatency stream(std::string name, double values, double floats, double run) const {
    OperatorLatency latency{.name = std::move(name)};
    const double engines = gpu_.processing_engines;
    latency.compute_s = values / (engines * lanes_ * gpu_.frequency_hz);
    latency.offchip_s = floats * bytes_ / gpu_.bandwidth_bytes_per_s;
    latency.onchip_s =
        floats * bytes_ / (gpu_.bandwidth_bytes_per_s * gpu_.onchip_bandwidth_factor) / efficiency(run);
    latency.launch_s = gpu_.launch_s;
    latency.seconds = total(latency);
    return latency;
  }

 private:
  double total(const OperatorLatency& latency) const {
    const double memory = latency.offchip_s + latency.onchip_s;
    return (gpu_.overlap ? std::max(latency.compute_s, memory) : latency.compute_s + memory) +
           latency.launch_s;
  }

  /// Useful share of the requests that move `run` contiguous floats.
  double efficiency(double run) const {
    const double request = std::max(1.0, gpu_.request_bytes / bytes_);
    return run / (ceil_div(run, request) * request);
  }

  OperatorLatency expected_conv(const ConvWork& work, const Tile& tile) const {
    const double values = tile.channels * tile.side * tile.side * tile.patches;
    const double parallel = lanes_ * gpu_.pipeline_depth;
    const double utilisation = values / (ceil_div(values, parallel) * parallel);
    const double input_side = (tile.side - 1) * work.stride + work.kernel;
    const double tile_groups = std::max(1.0, ceil_div(tile.channels, work.out / work.groups));
    const double input_channels = std::min(work.in, tile_groups * work.in / work.groups);
    const double per_patch = std::pow(ceil_div(work.side, tile.side), 2) * ceil_div(work.out, tile.channels);
    // NHWC: a pixel's channels are one run, and so are neighbouring pixels if the tile has all channels.
    const double input_run = input_channels * (input_channels == work.in ? input_side : 1);
    const double output_channels = std::min(work.out, tile.channels);
    const double output_run = output_channels * (output_channels == work.out ? tile.side : 1);
    const double onchip_per_tile =
        output_channels * work.reduction() +
        input_channels * input_side * input_side * tile.patches / efficiency(input_run) +
        work.writes * output_channels * tile.side * tile.side * tile.patches / efficiency(output_run);
    OperatorLatency expected{.name = {}, .utilisation = utilisation};
    for (const Load& load : work.loads) {
      OperatorLatency latency;
      latency.launch_s = gpu_.launch_s;
      if (load.patches > 0) {
        const double tiles = per_patch * ceil_div(load.patches, tile.patches);
        latency.compute_s = ceil_div(tiles, gpu_.processing_engines) * values * work.reduction() /
                            (lanes_ * gpu_.frequency_hz) / utilisation;
        const double once = work.out * work.reduction() + load.input_pixels * work.in +
                            work.writes * load.output_pixels * work.out;
        latency.offchip_s = once * bytes_ / gpu_.bandwidth_bytes_per_s;
        latency.onchip_s =
            tiles * onchip_per_tile * bytes_ / (gpu_.bandwidth_bytes_per_s * gpu_.onchip_bandwidth_factor);
      }
      latency.seconds = total(latency);
      expected.add(latency, load.probability);
    }
    return expected;
  }

  const GpuHardware& gpu_;
  double bytes_, lanes_;
};

double seconds(const std::vector<OperatorLatency>& operators) {
  double sum = 0;
  for (const OperatorLatency& latency : operators) sum += latency.seconds;
  return sum;
}

class GpuBlock {
 public:
  GpuBlock(const BlockSpec& block, const BlockGeometry& geometry, const GpuContext& context)
      : block_(block), geometry_(geometry), images_(static_cast<double>(context.batch)), costs_(context) {}

  OperatorLatency dense_conv(const std::string& name, const ConvSpec& conv, MapSize input, MapSize output,
                             double writes = 1, int extra_outputs = 0) const {
    // Square patches of the map's shorter side stand for the map.
    const auto side = static_cast<double>(std::min<int64_t>({output.height, output.width, 16}));
    ConvWork work = work_of(conv, side, writes);
    work.out += extra_outputs;
    const double pixels = images_ * static_cast<double>(output.pixels());
    work.loads = {{1, ceil_div(pixels, side * side), pixels, images_ * static_cast<double>(input.pixels())}};
    return costs_.conv(name, work);
  }

  /// `pixels` and `inputs` say what of each outcome is written and read.
  template <typename Pixels, typename Inputs>
  OperatorLatency sparse_conv(const std::string& name, const ConvSpec& conv, const BlockActivity& activity,
                              double writes, Pixels pixels, Inputs inputs) const {
    const double side =
        std::min<double>(geometry_.grid.granularity,
                         static_cast<double>(std::max(geometry_.output.height, geometry_.output.width)));
    ConvWork work = work_of(conv, side, writes);
    for (const ActiveCounts& counts : activity.scenarios) {
      work.loads.push_back(
          {counts.probability, ceil_div(pixels(counts), side * side), pixels(counts), inputs(counts)});
    }
    return costs_.conv(name, work);
  }

  std::vector<OperatorLatency> masker_and_conv1(const BlockActivity& activity,
                                                MaskerSchedule schedule) const {
    const ConvSpec& conv = block_.convs[0];
    if (schedule == MaskerSchedule::with_conv1) {
      return {dense_conv("masker_conv1", conv, geometry_.input, geometry_.middle, 1, 1)};
    }
    const bool pooled_sums = schedule == MaskerSchedule::incremental;
    const double pooled =
        images_ * static_cast<double>(pooled_sums ? geometry_.grid.patches() : geometry_.input.pixels());
    const double floats = pooled * block_.in_channels;
    const double window = static_cast<double>(conv.stride * conv.stride);
    return {costs_.stream("masker", floats, floats, block_.in_channels),
            sparse_conv(
                "conv1", conv, activity, 1, [](const ActiveCounts& c) { return c.dilated; },
                [=](const ActiveCounts& c) { return c.dilated * window; })};
  }

  std::vector<OperatorLatency> gather_and_inner(const BlockActivity& activity,
                                                GatherSchedule schedule) const {
    std::vector<OperatorLatency> operators;
    if (block_.convs.size() < 3) return operators;  // conv2 is the last convolution
    const ConvSpec& conv = block_.convs[1];
    gather(operators, activity, schedule, conv);
    return operators;
  }

  std::vector<OperatorLatency> last_and_scatter(const BlockActivity& activity, ScatterSchedule schedule,
                                                GatherSchedule gathered) const {
    std::vector<OperatorLatency> operators;
    const bool separate = schedule == ScatterSchedule::separate;
    const ConvSpec& conv = block_.convs.back();
    const auto active = [](const ActiveCounts& c) { return c.active; };
    const std::string name = fmt::format("conv{}", block_.convs.size());
    if (block_.convs.size() < 3) {
      gather(operators, activity, gathered, conv, separate ? 1 : 2);
    } else {
      operators.push_back(sparse_conv(name, conv, activity, separate ? 1 : 2, active, active));
    }
    if (separate) {
      const double values = images_ * static_cast<double>(geometry_.output.pixels()) * block_.out_channels;
      // The sparse output is zeros elsewhere; both maps are read and their sum is written.
      operators.push_back(costs_.stream("scatter_add", values, 3 * values, block_.out_channels));
    }
    return operators;
  }

  OperatorLatency lists(const BlockActivity& activity) const {
    const double indices = activity.mean([](const ActiveCounts& c) { return c.active + c.dilated; });
    return costs_.stream("lists", indices, 2 * indices, 1024);
  }

  OperatorLatency squeeze_excite(const SqueezeExciteSpec& spec, double pixels) const {
    const double channels = spec.channels, squeezed = spec.squeeze_channels;
    OperatorLatency sum = costs_.stream("squeeze_excite", pixels * channels, pixels * channels, channels);
    const double weights = channels * squeezed;
    for (const OperatorLatency& part :
         {costs_.stream("", images_ * weights, weights + images_ * (channels + squeezed), squeezed),
          costs_.stream("", images_ * weights, weights + images_ * (channels + squeezed), channels),
          costs_.stream("", pixels * channels, 2 * pixels * channels, channels)}) {
      sum.add(part);
    }
    return sum;
  }

  OperatorLatency projection() const {
    return dense_conv("projection", *block_.projection, geometry_.output, geometry_.output);
  }

  OperatorLatency add() const {
    const double values = images_ * static_cast<double>(geometry_.output.pixels()) * block_.out_channels;
    return costs_.stream("add", values, 3 * values, block_.out_channels);
  }

 private:
  static ConvWork work_of(const ConvSpec& conv, double side, double writes) {
    return {.in = static_cast<double>(conv.in_channels),
            .out = static_cast<double>(conv.out_channels),
            .kernel = static_cast<double>(conv.kernel),
            .stride = static_cast<double>(conv.stride),
            .groups = static_cast<double>(conv.groups),
            .side = side,
            .writes = writes,
            .loads = {}};
  }

  /// The 3x3 on active pixels, reading the dilated ones in place or patches with their halo from a buffer.
  void gather(std::vector<OperatorLatency>& operators, const BlockActivity& activity, GatherSchedule schedule,
              const ConvSpec& conv, double writes = 1) const {
    const double side = geometry_.grid.granularity;
    const double halo = (side - 1) * conv.stride + conv.kernel;
    const auto buffered = [=](const ActiveCounts& c) { return c.patches * halo * halo; };
    const bool copied = schedule == GatherSchedule::copied;
    if (copied) {
      const double moved =
          activity.mean([&](const ActiveCounts& c) { return c.dilated + buffered(c); }) * conv.in_channels;
      operators.push_back(costs_.stream("gather", 0, moved, conv.in_channels));
    }
    operators.push_back(sparse_conv(
        "conv2", conv, activity, writes, [](const ActiveCounts& c) { return c.active; },
        [=](const ActiveCounts& c) { return copied ? buffered(c) : c.dilated; }));
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
  double images_;
  GpuCosts costs_;
};

/// The quickest of the options that are allowed; `cost` gives an option's operators.
template <typename Option, typename CostOf>
std::vector<OperatorLatency> quickest(std::initializer_list<Option> options,
                                      const std::optional<Option>& fixed, Option& chosen,
                                      const CostOf& cost) {
  std::vector<OperatorLatency> best;
  for (const Option option : options) {
    if (fixed && *fixed != option) continue;
    std::vector<OperatorLatency> operators = cost(option);
    if (!best.empty() && seconds(operators) >= seconds(best)) continue;
    best = std::move(operators);
    chosen = option;
  }
  return best;
}

void append(std::vector<OperatorLatency>& to, std::vector<OperatorLatency> from) {
  for (OperatorLatency& latency : from) to.push_back(std::move(latency));
}

}  // namespace

std::vector<OperatorLatency> gpu_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                              const GpuContext& context) {
  const GpuBlock costs(block, geometry, context);
  std::vector<OperatorLatency> operators;
  MapSize input = geometry.input;
  for (size_t i = 0; i < block.convs.size(); ++i) {
    const MapSize output = i == 0 ? geometry.middle : geometry.output;
    const bool last = i + 1 == block.convs.size();
    // The addition and ReLU are fused into the last convolution, as every tuned library does.
    operators.push_back(
        costs.dense_conv(fmt::format("conv{}", i + 1), block.convs[i], input, output, last ? 2 : 1));
    input = output;
  }
  if (block.squeeze_excite) {
    operators.push_back(costs.squeeze_excite(*block.squeeze_excite,
                                             static_cast<double>(context.batch * geometry.output.pixels())));
  }
  if (block.projection) operators.push_back(costs.projection());
  return operators;
}

ScheduledOperators gpu_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                     const GpuContext& context, const BlockActivity& activity,
                                     const ScheduleConstraint& constraint) {
  const GpuBlock costs(block, geometry, context);
  ScheduledOperators result;
  result.schedule.masker = MaskerSchedule::separate;
  // The masker that the block before keeps up to date is offered on request: it depends on that block.
  append(result.operators,
         constraint.masker == MaskerSchedule::incremental
             ? quickest({MaskerSchedule::incremental}, constraint.masker, result.schedule.masker,
                        [&](MaskerSchedule s) { return costs.masker_and_conv1(activity, s); })
             : quickest({MaskerSchedule::separate, MaskerSchedule::with_conv1}, constraint.masker,
                        result.schedule.masker,
                        [&](MaskerSchedule s) { return costs.masker_and_conv1(activity, s); }));
  result.operators.insert(result.operators.begin() + 1, costs.lists(activity));
  const bool basic = block.convs.size() < 3;  // whose last convolution is conv2 itself
  std::vector<OperatorLatency> inner =
      quickest({GatherSchedule::indirect, GatherSchedule::copied}, constraint.gather, result.schedule.gather,
               [&](GatherSchedule s) {
                 return basic ? costs.last_and_scatter(activity, ScatterSchedule::in_place, s)
                              : costs.gather_and_inner(activity, s);
               });
  if (!basic) append(result.operators, std::move(inner));
  if (block.squeeze_excite) {
    const double pixels = activity.mean([](const ActiveCounts& c) { return c.active; });
    result.operators.push_back(costs.squeeze_excite(*block.squeeze_excite, pixels));
  }
  append(result.operators, quickest({ScatterSchedule::in_place, ScatterSchedule::separate},
                                    constraint.scatter, result.schedule.scatter, [&](ScatterSchedule s) {
                                      return costs.last_and_scatter(activity, s, result.schedule.gather);
                                    }));
  if (block.projection) result.operators.push_back(costs.projection());
  return result;
}

std::vector<OperatorLatency> gpu_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                       const GpuContext& context) {
  const BlockSpec none;
  const GpuBlock costs(none, geometry.blocks.front(), context);
  const GpuCosts streams(context);
  const auto images = static_cast<double>(context.batch);
  std::vector<OperatorLatency> operators = {
      costs.dense_conv("stem", spec.stem, geometry.input, geometry.stem)};
  if (spec.stem_pool) {
    const double in = images * static_cast<double>(geometry.stem.pixels()) * spec.stem.out_channels;
    const double out = images * static_cast<double>(geometry.trunk.pixels()) * spec.stem.out_channels;
    operators.push_back(streams.stream("stem_pool", 9 * out, in + out, spec.stem.out_channels));
  }
  if (!spec.has_head()) return operators;
  const double last = images * static_cast<double>(geometry.blocks.back().output.pixels()) * spec.features;
  operators.push_back(streams.stream("head_pool", last, last, spec.features));
  const double weights = static_cast<double>(spec.features) * spec.arch.classes;
  operators.push_back(streams.stream(
      "head", images * weights, weights + images * (spec.features + spec.arch.classes), spec.arch.classes));
  return operators;
}

}  // namespace lasnet
