#include "latency/cuda_model.h"

#include <algorithm>
#include <cmath>

#include "core/fail.h"
#include "kernels/cuda/head_shape.h"
#include "kernels/cuda/list_geometry.h"
#include "kernels/cuda/pack.h"
#include "mask/active_lists.h"
#include "mask/expected_dilation.h"

namespace lasnet {
namespace {

using cuda::element_bytes;
using cuda::padded_channels;

constexpr double kMega = 1e-6, kKilo = 1e-3;
constexpr int kWarps = 8;
/// Patches of at most so many rows are read by a warp each, larger ones by eight.
constexpr int kSmallSide = 4;
constexpr int kStrip = 8;  ///< pixels of a large patch's row that a warp reads at once
/// Images and classes of a warp of the classifier, classes where images are many.
constexpr int kHeadStep = 128;
/// Of means: blocks on a multiprocessor at a time, pixels that a warp reads at once.
constexpr int kMeanBlocks = 8, kMeanReads = 8;
/// Of Squeeze-and-Excitation: images on a multiprocessor at a time, outputs that an image's warps compute at
/// a time, inputs that they read for it at once.
constexpr int kExciteBlocks = 4, kExciteOutputs = 64, kExciteInputs = 64;

double ceil_div(double a, double b) { return std::ceil(a / b); }
bool is_small_patch(int side) { return side == 1 || side == 2 || side == kSmallSide; }
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
  const bool small = is_small_patch(side);
  const double row_reads = reads * (small ? 1 : ceil_div(side, kStrip));
  CudaCounts counts =
      counts_of({{CudaUnit::wait, 1},
                 {CudaUnit::masker, pixels * pitch * bytes * kMega},
                 {CudaUnit::masker_row, patches * side * row_reads * kKilo},
                 {CudaUnit::masker_step, row_reads * (small ? side : ceil_div(side, kWarps))}});
  counts.footprint_mb = map_pixels * pitch * bytes * kMega;
  return counts;
}

/// A convolution from map to map over `layer_pixels` at most, of which the engine expects `rate`.
struct Layer {
  std::string name;
  const ConvSpec& conv;
  double layer_pixels = 0, rate = 1;
  bool adds = false;
};

/// Operators under the outcomes of a mask.
class Operators {
 public:
  Operators(const CudaContext& context, const BlockActivity& activity)
      : context_(context), activity_(activity) {}

  CudaConvWork work(const Layer& layer) const {
    return cuda_conv_work(layer.conv, layer.adds, context_.target());
  }

  /// `pixels` of an outcome are computed.
  template <typename Pixels>
  OperatorLatency conv(const Layer& layer, const Pixels& pixels) const {
    return conv(layer, work(layer), pixels);
  }
  template <typename Pixels>
  OperatorLatency conv(const Layer& layer, CudaConvWork work, const Pixels& pixels) const {
    const CudaTileCosts& costs = context_.hardware.tiles;
    work = of_layer(work, layer.layer_pixels, layer.rate, costs);
    const CudaTile chosen = choose_cuda_tile(work, costs);
    OperatorLatency latency{.name = layer.name, .utilisation = 0};
    latency.tile = fmt::format("{} pixels x {} channels ({})", chosen.pixels, chosen.channels,
                               lasnet::to_string(chosen.shape));
    for (const ActiveCounts& counts : activity_.scenarios) {
      work.pixels = pixels(counts);
      const CudaTile tile = fitted_to(chosen, work);
      const bool idle = work.pixels <= 0;  // the kernel starts, and finds an empty list
      const double covered = ceil_div(work.pixels, tile.pixels) * tile.pixels *
                             ceil_div(work.channels, tile.channels) * tile.channels;
      const double seconds =
          idle ? context_.hardware.cost(CudaUnit::kernel) : expected_seconds(tile, work, costs);
      latency.seconds += counts.probability * seconds;
      (idle ? latency.launch_s : latency.compute_s) += counts.probability * seconds;
      latency.utilisation += counts.probability * (idle ? 1 : work.pixels * work.channels / covered);
    }
    return latency;
  }

  /// A kernel whose counts depend on the outcome.
  template <typename Counts>
  OperatorLatency kernel(std::string name, const Counts& counts_of_outcome) const {
    OperatorLatency latency{.name = std::move(name)};
    const CudaHardware& hardware = context_.hardware;
    for (const ActiveCounts& outcome : activity_.scenarios) {
      const CudaCounts counts = counts_of_outcome(outcome);
      const auto part = [&](CudaUnit unit) { return seconds_of(unit, counts, hardware); };
      const double seconds = kernel_seconds(counts, hardware), launch = part(CudaUnit::kernel);
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

 private:
  const CudaContext& context_;
  const BlockActivity& activity_;
};

/// Parts of several operators as one.
OperatorLatency sum_of(std::string name, const std::vector<OperatorLatency>& parts) {
  OperatorLatency sum{.name = std::move(name)};
  for (const OperatorLatency& part : parts) sum.add(part);
  return sum;
}

/// One block's operators, dynamic under a plan or static.
class CudaBlockCosts {
 public:
  CudaBlockCosts(const BlockSpec& block, const BlockGeometry& geometry, const CudaContext& context,
                 const BlockActivity& activity, const BlockPlan& plan, const CudaMaskerRole& masker,
                 bool sparse)
      : block_(block),
        geometry_(geometry),
        context_(context),
        operators_(context, activity),
        plan_(plan),
        masker_(plan.masker == MaskerSchedule::pooled ? masker : CudaMaskerRole{}),
        sparse_(sparse),
        convs_beside_(sparse ? convs_beside_masker(block, geometry, context.batch, plan, context.target())
                             : 0),
        images_(static_cast<double>(context.batch)),
        middle_pixels_(images_ * pixels_of(geometry.middle)),
        output_pixels_(images_ * pixels_of(geometry.output)) {}

  std::vector<OperatorLatency> all() const {
    std::vector<OperatorLatency> list;
    if (convs_beside_ > 0) {
      list.push_back(masking_beside());
    } else {
      if (sparse_) list = masking();
      list.push_back(first(sparse_));
    }
    if (block_.convs.size() > 2) add_windowed(list, false);
    if (block_.squeeze_excite) list.push_back(squeeze_excite());
    if (block_.projection) list.push_back(projection());
    add_last(list);
    return list;
  }

 private:
  int bytes() const { return element_bytes(context_.precision); }
  bool scatters() const { return sparse_ && plan_.scatter == ScatterSchedule::separate; }

  /// Pixels of M, or of its images' maps where Squeeze-and-Excitation averages those.
  double active(const ActiveCounts& counts) const {
    return block_.pools_densely() ? counts.images * pixels_of(geometry_.output) : counts.active;
  }
  double dilated(const ActiveCounts& counts) const {
    return block_.pools_densely() ? counts.images * pixels_of(geometry_.middle) : counts.dilated;
  }

  CudaCounts masker(const ActiveCounts& counts) const {
    const int side = geometry_.grid.granularity * block_.stride, pitch = padded_channels(block_.in_channels);
    if (masker_ == CudaMaskerRole{})
      return masker_counts(images_, geometry_.input, pitch, side, context_.precision);
    const double all = images_ * static_cast<double>(geometry_.grid.patches());
    return masker_group_counts(images_, masker_.refreshes ? counts.patches : all, masker_.blocks,
                               geometry_.input, pitch, side, context_.precision);
  }

  std::vector<OperatorLatency> masking() const {
    std::vector<MapSize> maps = {geometry_.middle, geometry_.output};
    if (block_.pools_densely()) maps.push_back(geometry_.output);
    if (block_.projection) maps.push_back(geometry_.output);
    if (masker_.blocks > 1) maps.push_back({geometry_.grid.rows(), geometry_.grid.cols()});
    return {operators_.kernel("masker", [&](const ActiveCounts& counts) { return masker(counts); }),
            operators_.kernel("lists", [&](const ActiveCounts&) { return list_counts(images_, maps); })};
  }

  OperatorLatency first(bool sparse) const {
    const double rate =
        sparse ? expected_dilated_rate(kExpectedRate, geometry_.grid.granularity, geometry_.dilation_stride)
               : 1;
    return operators_.conv({"conv1", block_.convs[0], middle_pixels_, rate}, [&](const ActiveCounts& counts) {
      return sparse ? dilated(counts) : middle_pixels_;
    });
  }

  /// First convolution beside masker and lists: the longer of the two, or both where it leaves them no room.
  /// What a second one, beside them too, hides of them is left out.
  OperatorLatency masking_beside() const {
    const OperatorLatency conv = first(false);
    const CudaTileCosts& costs = context_.hardware.tiles;
    const CudaConvWork work = of_layer(operators_.work({"", block_.convs[0]}), middle_pixels_, 1, costs);
    OperatorLatency mask = sum_of("", masking());
    if (convs_beside_ > 1) mask.seconds = std::max(0.0, mask.seconds - second(false).seconds);
    OperatorLatency beside = !leaves_room(work, costs)     ? sum_of("", {conv, mask})
                             : conv.seconds > mask.seconds ? conv
                                                           : mask;
    const double branch = context_.hardware.cost(CudaUnit::branch);
    beside.seconds += branch;
    beside.launch_s += branch;
    beside.name = "masker_conv1";
    return beside;
  }

  /// The 3x3, behind the copies that it reads where patches are gathered.
  void add_windowed(std::vector<OperatorLatency>& list, bool adds) const {
    if (sparse_ && plan_.gather == GatherSchedule::copied) list.push_back(gather());
    list.push_back(second(sparse_ && convs_beside_ < 2, adds));
  }

  OperatorLatency second(bool sparse, bool adds = false) const {
    return operators_.conv(
        {"conv2", block_.convs[1], output_pixels_, sparse ? kExpectedRate : 1, adds},
        [&](const ActiveCounts& counts) { return sparse ? active(counts) : output_pixels_; });
  }

  OperatorLatency gather() const {
    const double side = (geometry_.grid.granularity - 1) * geometry_.dilation_stride + 3;
    const double patch_bytes = side * side * padded_channels(block_.convs[0].out_channels) * bytes();
    return sum_of("gather", {operators_.kernel("",
                                               [&](const ActiveCounts& counts) {
                                                 const double moved = 2 * counts.patches * patch_bytes;
                                                 return stream_counts(moved, moved, true);
                                               }),
                             operators_.kernel("", [&](const ActiveCounts& counts) {
                               const double moved = 2 * sizeof(int32_t) * active(counts);
                               return stream_counts(moved, moved, true);
                             })});
  }

  OperatorLatency squeeze_excite() const {
    const SqueezeExciteSpec& spec = *block_.squeeze_excite;
    const int pitch = padded_channels(spec.channels);
    return sum_of("squeeze_excite",
                  {operators_.kernel("",
                                     [&](const ActiveCounts& counts) {
                                       const double pixels = sparse_ ? active(counts) : output_pixels_;
                                       return mean_counts(sparse_ ? counts.images : images_, pixels, pitch,
                                                          context_.precision,
                                                          context_.hardware.multiprocessors);
                                     }),
                   operators_.kernel("",
                                     [&](const ActiveCounts&) {
                                       return excite_counts(images_, spec.channels, spec.squeeze_channels,
                                                            context_.hardware.multiprocessors);
                                     }),
                   operators_.kernel("", [&](const ActiveCounts& counts) {
                     const double listed = (sparse_ ? counts.active : output_pixels_) * pitch * bytes();
                     return stream_counts(2 * listed, listed, true);
                   })});
  }

  OperatorLatency projection() const {
    return operators_.conv({"projection", *block_.projection, output_pixels_},
                           [&](const ActiveCounts&) { return output_pixels_; });
  }

  void add_last(std::vector<OperatorLatency>& list) const {
    const double map_bytes = static_cast<double>(bordered_pixels(geometry_.output, context_.batch)) *
                             padded_channels(block_.out_channels) * bytes();
    const auto moves = [&](const char* name, double times, double maps) {
      list.push_back(operators_.kernel(name, [&](const ActiveCounts&) {
        return stream_counts(times * map_bytes, maps * map_bytes, false);
      }));
    };
    if (scatters()) moves("scatter_fill", 1, 1);
    if (block_.convs.size() > 2) {
      list.push_back(operators_.conv(
          {"conv3", block_.convs[2], output_pixels_, sparse_ ? kExpectedRate : 1, !scatters()},
          [&](const ActiveCounts& counts) { return sparse_ ? counts.active : output_pixels_; }));
    } else {
      add_windowed(list, !scatters());
    }
    if (scatters()) moves("scatter_add", 3, 2);
  }

  const BlockSpec& block_;
  const BlockGeometry& geometry_;
  const CudaContext& context_;
  Operators operators_;
  const BlockPlan& plan_;
  CudaMaskerRole masker_;
  bool sparse_;
  int convs_beside_;
  double images_, middle_pixels_, output_pixels_;
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
  const double sums = patches * (is_small_patch(side) ? 1 : kWarps);
  counts[CudaUnit::masker_product] = sums * ceil_div(maskers, kWarps) * kWarps * ceil_div(pitch, 32) * kKilo;
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
  const double rounds = ceil_div(images * ceil_div(pitch, 32), kMeanBlocks * multiprocessors);
  const double of_warp = ceil_div(pixels / std::max(images, 1.0), kWarps);
  CudaCounts counts = counts_of(
      {{CudaUnit::stream, megabytes}, {CudaUnit::mean_step, rounds * ceil_div(of_warp, kMeanReads)}});
  counts.footprint_mb = megabytes;
  return counts;
}

CudaCounts excite_counts(double images, int channels, int squeezed, int multiprocessors) {
  const double rounds = ceil_div(images, kExciteBlocks * multiprocessors);
  const auto layer = [](int outputs, int inputs) {
    return ceil_div(outputs, kExciteOutputs) * ceil_div(inputs, kExciteInputs);
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
  return counts_of(
      {{CudaUnit::head, floats * sizeof(float) * kMega}, {CudaUnit::head_step, ceil_div(pitch, kHeadStep)}});
}

std::vector<OperatorLatency> cuda_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                               const CudaContext& context) {
  const BlockActivity everything{.scenarios = {full_counts(geometry, context.batch)}};
  return CudaBlockCosts(block, geometry, context, everything, {}, {}, false).all();
}

std::vector<OperatorLatency> cuda_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                const CudaContext& context, const BlockActivity& activity,
                                                const BlockPlan& plan, const CudaMaskerRole& masker) {
  return CudaBlockCosts(block, geometry, context, activity, plan, masker, true).all();
}

std::vector<OperatorLatency> cuda_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const CudaContext& context) {
  const auto images = static_cast<double>(context.batch);
  const BlockActivity always{.scenarios = {ActiveCounts{}}};
  const Operators operators(context, always);
  const int bytes = element_bytes(context.precision), pitch = padded_channels(spec.stem.out_channels);
  const auto kernel = [&](const char* name, const CudaCounts& counts) {
    return operators.kernel(name, [&](const ActiveCounts&) { return counts; });
  };
  const int image_pitch = cuda::image_pitch(context.precision, spec.stem.in_channels, spec.stem.stride);
  const double image_bytes = spec.stem.in_channels * sizeof(float) + image_pitch * bytes;
  const double stem_pixels = images * pixels_of(geometry.stem);
  const Layer stem{"stem", spec.stem, stem_pixels};
  CudaConvWork work = operators.work(stem);
  // A row of the stem's kernel is one run of its input.
  work.reduction_bytes = int64_t{spec.stem.kernel} * spec.stem.kernel * image_pitch * bytes;
  const double moved = images * pixels_of(geometry.input) * image_bytes;
  std::vector<OperatorLatency> list = {
      kernel("image", stream_counts(moved, moved, true)),
      operators.conv(stem, work, [&](const ActiveCounts&) { return stem_pixels; })};
  if (spec.stem_pool) {
    const double maps = (stem_pixels + images * pixels_of(geometry.trunk)) * pitch * bytes;
    list.push_back(kernel("stem_pool", stream_counts(maps, maps, true)));
  }
  const MapSize last = geometry.blocks.back().output;
  list.push_back(
      kernel("head_pool", mean_counts(images, images * pixels_of(last), padded_channels(spec.features),
                                      context.precision, context.hardware.multiprocessors)));
  list.push_back(kernel("head", head_counts(images, spec.arch.classes, padded_channels(spec.features))));
  return list;
}

}  // namespace lasnet
