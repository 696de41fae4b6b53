#include "predict/paper_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "base/fail.h"
#include "base/math.h"

namespace lasnet {
namespace {

constexpr double kBytesPerFloat = 4;
/// Tiles are powers of two up to 2^7, the first few divisions of an extent, and the first few integers.
constexpr int kPowers = 8, kDivisions = 8;

std::vector<int64_t> candidate_tiles(int64_t extent) {
  std::set<int64_t> tiles;
  for (int power = 0; power < kPowers; ++power) {
    if ((int64_t{1} << power) <= 2 * extent) tiles.insert(int64_t{1} << power);
  }
  const int64_t divisions = std::min<int64_t>(extent, kDivisions);
  for (int64_t i = 1; i < divisions; ++i) tiles.insert(ceil_div(extent, i));
  for (int64_t i = 2; i < divisions; ++i) tiles.insert(i);
  return {tiles.begin(), tiles.end()};
}

/// Share of an operator's slots that do work when they are handed out `parallel` at a time.
double ceil_efficiency(double work, double parallel) {
  return work / (std::ceil(work / parallel) * parallel);
}

/// Share of a request that is useful when runs of `run` floats lie `gap` floats apart.
double request_efficiency(double run, double gap, double request) {
  gap = std::max(gap, 0.0);
  if (run > request) return ceil_efficiency(run, request);
  return run + gap > request ? run / request : run / (run + gap);
}

struct Cost {
  double compute_s = 0, offchip_s = 0, onchip_s = 0;
};

/// A tile of one patch or map, and how many patches one batch of lanes takes.
struct Tile {
  int64_t channels = 1, height = 1, width = 1, patches = 1;

  int64_t values() const { return channels * height * width; }
};

struct TiledCost {
  Cost cost;
  Tile tile;
  double utilisation = 1;
};

/// A convolution on [in, out] channels and an output map.
struct Conv {
  int64_t in = 1, out = 1, kernel = 1, stride = 1, groups = 1;
  MapSize map;  ///< output

  int64_t reduction() const { return in / groups * kernel * kernel; }
};

/// Patches of a dynamic operator.
struct Patches {
  int64_t granularity = 1;
  double count = 0;      ///< active ones of one image
  bool gathered = true;  ///< the input holds only them
};

class Simulator {
 public:
  Simulator(const GpuHardware& gpu, int64_t batch) : gpu_(gpu), batch_(batch) {}

  /// `computed`: share of the output channels. The simulator reads a batch's weights for all of them.
  OperatorLatency conv(std::string name, const Conv& conv, double computed = 1) const {
    return finish(std::move(name), best_static(conv.out, conv.map, [&](const Tile& tile) {
                    return static_conv(conv, tile, computed);
                  }));
  }

  /// The tiling is chosen for the mean over all patch counts, and charged for the actual one.
  OperatorLatency dynamic_conv(std::string name, const Conv& conv, Patches patches) const {
    const auto cost = [&](const Tile& tile, double count) {
      Patches counted = patches;
      counted.count = count;
      return dynamic_conv_cost(conv, counted, tile);
    };
    return finish(std::move(name),
                  best_dynamic(conv.out, patches.granularity, 256, conv.map, patches.count, cost));
  }

  OperatorLatency add(std::string name, int64_t channels, MapSize map) const {
    return finish(std::move(name), best_static(channels, map, [&](const Tile& tile) {
                    const auto tiles = tile_count(channels, map, tile);
                    const auto images = static_cast<double>(batch_);
                    Cost cost = elementwise(tile, tiles);
                    cost.compute_s *= images;
                    cost.offchip_s = 3 * static_cast<double>(tile.values() * tiles) * images / floats_per_s();
                    return cost;
                  }));
  }

  OperatorLatency scatter_add(std::string name, int64_t channels, MapSize map, Patches patches) const {
    const auto cost = [&](const Tile& tile, double count) {
      return scatter_cost(channels, map, patches, tile, count);
    };
    return finish(std::move(name), best_dynamic(channels, patches.granularity, all_patches(map, patches), map,
                                                patches.count, cost));
  }

  OperatorLatency squeeze_excite(std::string name, const SqueezeExciteSpec& spec, MapSize map,
                                 const Patches* patches) const;

  OperatorLatency fc(std::string name, int64_t in, int64_t out) const;

 private:
  double floats_per_s() const { return gpu_.bandwidth_bytes_per_s / kBytesPerFloat; }
  double onchip_floats_per_s() const { return floats_per_s() * gpu_.onchip_bandwidth_factor; }
  double lanes() const { return gpu_.fp32_lanes_per_engine; }
  double parallel() const { return lanes() * gpu_.pipeline_depth; }
  double request() const { return gpu_.request_bytes / kBytesPerFloat; }
  double total(const Cost& cost) const {
    const double memory = cost.offchip_s + cost.onchip_s;
    return gpu_.overlap ? std::max(cost.compute_s, memory) : cost.compute_s + memory;
  }
  double rounds(int64_t tiles) const { return static_cast<double>(ceil_div(tiles, gpu_.processing_engines)); }

  static int64_t tile_count(int64_t channels, MapSize map, const Tile& tile) {
    return ceil_div(channels, tile.channels) * ceil_div(map.height, tile.height) *
           ceil_div(map.width, tile.width);
  }
  static int64_t all_patches(MapSize map, const Patches& patches) {
    return ceil_div(map.height, patches.granularity) * ceil_div(map.width, patches.granularity);
  }

  OperatorLatency finish(std::string name, const TiledCost& tiled) const {
    const Cost& cost = tiled.cost;
    return {.name = std::move(name),
            .seconds = total(cost) + gpu_.launch_s,
            .compute_s = cost.compute_s,
            .offchip_s = cost.offchip_s,
            .onchip_s = cost.onchip_s,
            .launch_s = gpu_.launch_s,
            .utilisation = tiled.utilisation,
            .tile = fmt::format("{} channels x {} x {} pixels", tiled.tile.channels, tiled.tile.height,
                                tiled.tile.width)};
  }

  /// The tile with the least time of `cost`; the first of equals.
  TiledCost best_static(int64_t channels, MapSize map, const std::function<Cost(const Tile&)>& cost) const {
    TiledCost best;
    double least = std::numeric_limits<double>::infinity();
    for (const int64_t c : candidate_tiles(channels)) {
      for (const int64_t h : candidate_tiles(map.height)) {
        for (const int64_t w : candidate_tiles(map.width)) {
          const Tile tile{c, h, w, 1};
          const Cost of_tile = cost(tile);
          if (total(of_tile) >= least) continue;
          least = total(of_tile);
          best = {of_tile, tile, ceil_efficiency(static_cast<double>(tile.values()), parallel())};
        }
      }
    }
    return best;
  }

  template <typename CostOf>
  TiledCost best_dynamic(int64_t channels, int64_t granularity, int64_t patch_extent, MapSize map,
                         double count, const CostOf& cost) const {
    const double mean = (1 + static_cast<double>(all_patches(map, {.granularity = granularity}))) / 2;
    TiledCost best;
    double least = std::numeric_limits<double>::infinity();
    for (const int64_t p : candidate_tiles(patch_extent)) {
      for (const int64_t c : candidate_tiles(channels)) {
        for (const int64_t h : candidate_tiles(granularity)) {
          for (const int64_t w : candidate_tiles(granularity)) {
            const Tile tile{c, h, w, p};
            const double seconds = total(cost(tile, mean));
            if (seconds >= least) continue;
            least = seconds;
            best = {{}, tile, ceil_efficiency(static_cast<double>(tile.values() * p * batch_), parallel())};
          }
        }
      }
    }
    best.cost = cost(best.tile, count);
    return best;
  }

  Cost elementwise(const Tile& tile, int64_t tiles) const {
    const auto values = static_cast<double>(tile.values());
    return {.compute_s =
                values / gpu_.frequency_hz / lanes() / ceil_efficiency(values, parallel()) * rounds(tiles)};
  }

  /// Input floats of a tile with the simulator's halo.
  static double tile_input(const Conv& conv, const Tile& tile) {
    const int64_t group_in = conv.in / conv.groups, group_out = conv.out / conv.groups;
    return static_cast<double>(ceil_div(tile.channels, group_out) * group_in *
                               (tile.height + conv.kernel - 1) * conv.stride *
                               (tile.width + conv.kernel - 1) * conv.stride);
  }

  Cost static_conv(const Conv& conv, const Tile& tile, double computed) const {
    const int64_t tiles = tile_count(conv.out, conv.map, tile);
    const auto images = static_cast<double>(batch_), values = static_cast<double>(tile.values());
    const auto pixels = static_cast<double>(conv.map.pixels());
    const double weights = static_cast<double>(conv.reduction()) * (batch_ == 1 ? computed : 1);
    const double moved =
        static_cast<double>(tiles) * (static_cast<double>(tile.channels) * weights +
                                      tile_input(conv, tile) * images + values * images * computed);
    const double once = static_cast<double>(conv.out) * weights +
                        static_cast<double>(conv.in * conv.stride * conv.stride) * pixels * images +
                        static_cast<double>(conv.out) * pixels * images * computed;
    const auto width = static_cast<double>(tile.width);
    const double efficiency =
        request_efficiency(width, static_cast<double>(conv.map.width) - width, request());
    const double macs = values * static_cast<double>(conv.reduction()) * images * computed;
    return {
        .compute_s = macs / gpu_.frequency_hz / lanes() / ceil_efficiency(values, parallel()) * rounds(tiles),
        .offchip_s = once / floats_per_s(),
        .onchip_s = moved / onchip_floats_per_s() / efficiency};
  }

  Cost dynamic_conv_cost(const Conv& conv, const Patches& patches, const Tile& tile) const {
    const MapSize patch{patches.granularity, patches.granularity};
    const int64_t tiles = tile_count(conv.out, patch, tile);
    const auto images = static_cast<double>(batch_), values = static_cast<double>(tile.values());
    const double moved =
        static_cast<double>(tiles) * (static_cast<double>(tile.channels * conv.reduction()) +
                                      (tile_input(conv, tile) + values) * patches.count * images);
    const int64_t side = (patches.granularity + conv.kernel - 1) * conv.stride;
    const double input = patches.gathered
                             ? patches.count * static_cast<double>(conv.in * side * side)
                             : static_cast<double>(conv.in * conv.stride * conv.stride * conv.map.pixels());
    const double once = static_cast<double>(conv.out * conv.reduction()) + input * images +
                        patches.count * static_cast<double>(conv.out * patch.pixels()) * images;
    const auto together = static_cast<double>(tile.patches);
    const double efficiency = ceil_efficiency(values * together * images, parallel());
    const double compute = patches.count == 0 ? 0
                                              : values * static_cast<double>(conv.reduction()) * together *
                                                    images / gpu_.frequency_hz / lanes() / efficiency *
                                                    std::ceil(patches.count / together) * rounds(tiles);
    return {
        .compute_s = compute, .offchip_s = once / floats_per_s(), .onchip_s = moved / onchip_floats_per_s()};
  }

  Cost scatter_cost(int64_t channels, MapSize map, const Patches& patches, const Tile& tile,
                    double count) const {
    const MapSize patch{patches.granularity, patches.granularity};
    const int64_t tiles = tile_count(channels, patch, tile);
    const auto images = static_cast<double>(batch_), values = static_cast<double>(tile.values());
    const double moved = 3 * values * count * static_cast<double>(tiles) * images;
    const double once = images * (count * static_cast<double>(channels * patch.pixels()) +
                                  2 * static_cast<double>(channels * map.pixels()));
    const auto width = static_cast<double>(tile.width), together = static_cast<double>(tile.patches);
    const double requests =
        request_efficiency(width, static_cast<double>(patches.granularity) - width, request());
    const double efficiency = ceil_efficiency(values * images * together, parallel());
    return {.compute_s = values * together * images / gpu_.frequency_hz / lanes() / efficiency *
                         std::ceil(count / together) * rounds(tiles),
            .offchip_s = once / floats_per_s(),
            .onchip_s = moved / onchip_floats_per_s() / requests};
  }

  /// Lanes that halve `elements` values of `channels` channels until one is left.
  double reduction_s(double channels, double elements) const {
    double seconds = 0;
    for (double n = std::ceil(elements / 2); n > 1; n = std::ceil(n / 2)) {
      seconds +=
          std::ceil(n * channels / lanes()) / ceil_efficiency(n * channels, parallel()) / gpu_.frequency_hz;
    }
    return seconds * static_cast<double>(batch_);
  }

  TiledCost static_pool(int64_t channels, MapSize map) const;
  TiledCost dynamic_pool(int64_t channels, MapSize map, const Patches& patches) const;
  TiledCost broadcast_multiply(int64_t channels, MapSize map) const;

  const GpuHardware& gpu_;
  int64_t batch_;
};

TiledCost Simulator::static_pool(int64_t channels, MapSize map) const {
  TiledCost best;
  double least = std::numeric_limits<double>::infinity();
  const auto pixels = static_cast<double>(map.pixels());
  for (int64_t c = 1; c <= std::min<int64_t>(2 * channels, 1 << (kPowers - 1)); c *= 2) {
    const int64_t channel_tiles = ceil_div(channels, c), tiles = channel_tiles * map.pixels();
    const auto width = static_cast<double>(c);
    Cost cost = elementwise({c, 1, 1, 1}, tiles);
    cost.compute_s += reduction_s(width, pixels);
    const auto images = static_cast<double>(batch_);
    cost.offchip_s = width / floats_per_s() * static_cast<double>(tiles) * images;
    cost.onchip_s =
        (width * static_cast<double>(tiles) + width * (pixels + 1) * static_cast<double>(channel_tiles)) /
        onchip_floats_per_s() * images;
    if (total(cost) >= least) continue;
    least = total(cost);
    best = {cost, {c, 1, 1, 1}, ceil_efficiency(width, parallel())};
  }
  return best;
}

TiledCost Simulator::dynamic_pool(int64_t channels, MapSize map, const Patches& patches) const {
  const MapSize patch{patches.granularity, patches.granularity};
  const auto images = static_cast<double>(batch_);
  // While tiles are compared the partial sums are those of one patch, when the best is charged those of the
  // map.
  const auto cost_of = [&](const Tile& tile, double count, MapSize reduced) {
    const int64_t tiles = tile_count(channels, patch, tile);
    const auto width = static_cast<double>(tile.channels), values = static_cast<double>(tile.values());
    const auto together = static_cast<double>(tile.patches);
    const auto partial = [&](MapSize of) {
      return static_cast<double>(ceil_div(of.height, tile.height) * ceil_div(of.width, tile.width));
    };
    const double moved = (values * count + width) * static_cast<double>(tiles) + width * (partial(map) + 1);
    const double once =
        count * static_cast<double>(channels * patch.pixels()) + static_cast<double>(channels * map.pixels());
    const double requests = request_efficiency(
        static_cast<double>(tile.width), static_cast<double>(patches.granularity - tile.width), request());
    const double batches = std::ceil(count / together);
    double compute = values * together / gpu_.frequency_hz / lanes() /
                         ceil_efficiency(width * together, parallel()) * batches +
                     width * together / gpu_.frequency_hz / lanes() / ceil_efficiency(width, parallel());
    compute = compute * images * rounds(tiles) + reduction_s(width, partial(reduced));
    return Cost{.compute_s = compute,
                .offchip_s = once / floats_per_s() * images,
                .onchip_s = moved / onchip_floats_per_s() / requests * images};
  };
  TiledCost best = best_dynamic(channels, patches.granularity, all_patches(map, patches), map, patches.count,
                                [&](const Tile& tile, double count) { return cost_of(tile, count, patch); });
  best.cost = cost_of(best.tile, patches.count, map);
  return best;
}

TiledCost Simulator::broadcast_multiply(int64_t channels, MapSize map) const {
  return best_static(channels, map, [&](const Tile& tile) {
    const int64_t tiles = tile_count(channels, map, tile);
    const auto images = static_cast<double>(batch_), width = static_cast<double>(tile.width);
    Cost cost = elementwise(tile, tiles);
    cost.compute_s *= images;
    const double efficiency = request_efficiency(width, static_cast<double>(map.width) - width, request());
    cost.offchip_s = static_cast<double>(channels * (2 * map.pixels() + 1)) / floats_per_s() * images;
    cost.onchip_s = static_cast<double>((2 * tile.values() + tile.channels) * tiles) / onchip_floats_per_s() /
                    efficiency * images;
    return cost;
  });
}

OperatorLatency Simulator::fc(std::string name, int64_t in, int64_t out) const {
  TiledCost best;
  double least = std::numeric_limits<double>::infinity();
  const auto images = static_cast<double>(batch_);
  for (const int64_t co : candidate_tiles(out)) {
    for (const int64_t ci : candidate_tiles(in)) {
      // The simulator takes the size of a tile for the number of tiles.
      const int64_t tiles = co * ci;
      const auto values = static_cast<double>(co * ci);
      const double efficiency =
          request_efficiency(static_cast<double>(ci), static_cast<double>(in), request());
      const Cost cost{.compute_s = values * images / gpu_.frequency_hz / lanes() /
                                   ceil_efficiency(values * images, parallel()) * rounds(tiles),
                      .offchip_s = static_cast<double>(in * out + in + out) * images / floats_per_s(),
                      .onchip_s = static_cast<double>((co * ci + ci + co) * tiles) * images /
                                  onchip_floats_per_s() / efficiency};
      if (total(cost) >= least) continue;
      least = total(cost);
      best = {cost, {co, 1, ci, 1}, ceil_efficiency(values * images, parallel())};
    }
  }
  return finish(std::move(name), best);
}

OperatorLatency Simulator::squeeze_excite(std::string name, const SqueezeExciteSpec& spec, MapSize map,
                                          const Patches* patches) const {
  OperatorLatency sum{.name = name};
  const TiledCost pool =
      patches == nullptr ? static_pool(spec.channels, map) : dynamic_pool(spec.channels, map, *patches);
  for (const OperatorLatency& part : {finish(name, pool), fc(name, spec.channels, spec.squeeze_channels),
                                      fc(name, spec.squeeze_channels, spec.channels),
                                      finish(name, broadcast_multiply(spec.channels, map))}) {
    sum.add(part);
  }
  return sum;
}

Conv conv_of(const ConvSpec& spec, MapSize output) {
  return {spec.in_channels, spec.out_channels, spec.kernel, spec.stride, spec.groups, output};
}

/// The block without its identity path.
std::vector<OperatorLatency> static_body(const BlockSpec& block, const BlockGeometry& geometry,
                                         const Simulator& simulator) {
  std::vector<OperatorLatency> operators;
  for (size_t i = 0; i < block.convs.size(); ++i) {
    const MapSize output = i == 0 ? geometry.middle : geometry.output;
    operators.push_back(simulator.conv(fmt::format("conv{}", i + 1), conv_of(block.convs[i], output)));
  }
  if (block.squeeze_excite) {
    operators.push_back(
        simulator.squeeze_excite("squeeze_excite", *block.squeeze_excite, geometry.output, nullptr));
  }
  operators.push_back(simulator.add("add", block.out_channels, geometry.output));
  return operators;
}

/// The simulator knows a projection by the block's stride.
void add_projection(const BlockSpec& block, const BlockGeometry& geometry, const Simulator& simulator,
                    std::vector<OperatorLatency>& operators) {
  if (block.projection && block.stride > 1)
    operators.push_back(simulator.conv("projection", conv_of(*block.projection, geometry.output)));
}

}  // namespace

std::vector<OperatorLatency> paper_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                const GpuHardware& gpu, int64_t batch) {
  const Simulator simulator(gpu, batch);
  std::vector<OperatorLatency> operators = static_body(block, geometry, simulator);
  add_projection(block, geometry, simulator, operators);
  return operators;
}

std::vector<OperatorLatency> paper_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                 const GpuHardware& gpu, int64_t batch, double rate,
                                                 MaskerSchedule masker) {
  const Simulator simulator(gpu, batch);
  const int64_t granularity = geometry.grid.granularity;
  const auto patches_on = [&](MapSize map, bool gathered) {
    const auto all =
        static_cast<double>(ceil_div(map.height, granularity) * ceil_div(map.width, granularity));
    return Patches{granularity, std::ceil(rate * all), gathered};
  };
  std::vector<OperatorLatency> operators;
  const Conv first = conv_of(block.convs[0], geometry.middle);
  if (masker == MaskerSchedule::with_conv1) {
    Conv fused = first;
    fused.out += 1;
    operators.push_back(simulator.conv("masker_conv1", fused));
  } else {
    operators.push_back(simulator.conv("masker", {.in = first.in, .out = 2, .map = geometry.input}));
    operators.push_back(simulator.dynamic_conv("conv1", first, patches_on(geometry.middle, false)));
  }
  for (size_t i = 1; i < block.convs.size(); ++i) {
    operators.push_back(simulator.dynamic_conv(fmt::format("conv{}", i + 1),
                                               conv_of(block.convs[i], geometry.output),
                                               patches_on(geometry.output, i > 1)));
  }
  operators.push_back(simulator.scatter_add("scatter_add", block.out_channels, geometry.output,
                                            patches_on(geometry.output, true)));
  add_projection(block, geometry, simulator, operators);
  if (block.squeeze_excite) {
    const Patches patches = patches_on(geometry.output, true);
    operators.push_back(
        simulator.squeeze_excite("squeeze_excite", *block.squeeze_excite, geometry.output, &patches));
  }
  return operators;
}

std::vector<OperatorLatency> paper_skipped_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                 const GpuHardware& gpu, int64_t batch, double rate) {
  const Simulator simulator(gpu, batch);
  const Conv masker{.in = block.in_channels, .out = block.convs[0].out_channels + 1, .map = geometry.input};
  std::vector<OperatorLatency> operators = {simulator.conv("masker", masker, 0)};
  for (const OperatorLatency& part : static_body(block, geometry, simulator)) {
    OperatorLatency& expected = operators.emplace_back(part);
    expected.seconds = expected.compute_s = expected.offchip_s = expected.onchip_s = expected.launch_s = 0;
    expected.add(part, rate);
  }
  add_projection(block, geometry, simulator, operators);
  return operators;
}

std::vector<OperatorLatency> paper_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                         const GpuHardware& gpu, int64_t batch) {
  const Simulator simulator(gpu, batch);
  std::vector<OperatorLatency> operators = {simulator.conv("stem", conv_of(spec.stem, geometry.stem))};
  if (spec.has_head()) operators.push_back(simulator.fc("head", spec.features, spec.arch.classes));
  return operators;
}

}  // namespace lasnet
