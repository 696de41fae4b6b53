#include "random_masks.h"

#include <algorithm>
#include <numeric>

#include "base/enum_names.h"
#include "base/fail.h"
#include "cli.h"
#include "lasnet/mask.h"

namespace lasnet::cli {
namespace {

constexpr auto kMaskSources = enum_names<MaskSource>("masks", {{MaskSource::own, "own"},
                                                               {MaskSource::random, "random"},
                                                               {MaskSource::centre, "centre"},
                                                               {MaskSource::full, "full"}});

/// Multiply-accumulates of a block under one image's mask.
double masked_macs(const BlockMacs& macs, const BlockGeometry& block, std::span<const uint8_t> mask) {
  std::vector<uint8_t> dilated(static_cast<size_t>(block.middle.pixels()));
  dilate_mask(mask, block.output, block.dilation_stride, block.middle, dilated, block.dilation);
  return macs.dynamic_total(activation_rate(mask), activation_rate(dilated));
}

/// Patches in the order in which they are taken.
std::vector<size_t> order_of(const PatchGrid& grid, Placement placement, Random& random) {
  std::vector<size_t> order(static_cast<size_t>(grid.patches()));
  std::iota(order.begin(), order.end(), size_t{0});
  random.shuffle(order);  // patches at one distance, too, are taken in any order
  if (placement == Placement::random) return order;
  const auto distance = [&grid](size_t patch) {
    const size_t row = patch / static_cast<size_t>(grid.cols()),
                 col = patch % static_cast<size_t>(grid.cols());
    const double y = static_cast<double>(row) + 0.5, x = static_cast<double>(col) + 0.5;
    const double dy = y / static_cast<double>(grid.rows()) - 0.5,
                 dx = x / static_cast<double>(grid.cols()) - 0.5;
    return dy * dy + dx * dx;
  };
  std::ranges::stable_sort(order, {}, distance);
  return order;
}

}  // namespace

MaskSet replaced_masks(const ModelSpec& spec, const NetworkGeometry& geometry, const Trace& trace,
                       Placement placement, Random& random) {
  MaskSet masks;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    if (!spec.blocks[b].is_dynamic()) continue;
    const PatchGrid& grid = geometry.blocks[b].grid;
    ByteTensor mask = trace.blocks[b].mask;
    const auto pixels = static_cast<size_t>(geometry.blocks[b].output.pixels());
    for (size_t begin = 0; begin < mask.data.size(); begin += pixels) {
      const auto image = std::span(mask.data).subspan(begin, pixels);
      std::vector<uint8_t> patches = patches_of_mask(grid, image);
      const auto active = static_cast<size_t>(std::ranges::count(patches, 1));
      const std::vector<size_t> order = order_of(grid, placement, random);
      std::ranges::fill(patches, uint8_t{0});
      for (size_t i = 0; i < active; ++i) patches[order[i]] = 1;
      expand_patches(grid, patches, image);
    }
    masks[spec.blocks[b].name] = std::move(mask);
  }
  return masks;
}

MaskSet random_masks(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t batch, double rate,
                     Random& random) {
  MaskSet masks;
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    if (!spec.blocks[b].is_dynamic()) continue;
    const BlockGeometry& block = geometry.blocks[b];
    ByteTensor mask({batch, block.output.height, block.output.width});
    const auto pixels = static_cast<size_t>(block.output.pixels());
    for (int64_t n = 0; n < batch; ++n) {
      std::vector<uint8_t> patches(static_cast<size_t>(block.grid.patches()));
      for (uint8_t& patch : patches) patch = random.uniform() < rate;
      expand_patches(block.grid, patches,
                     std::span(mask.data).subspan(static_cast<size_t>(n) * pixels, pixels));
    }
    masks[spec.blocks[b].name] = std::move(mask);
  }
  return masks;
}

std::string to_string(MaskSource source) { return kMaskSources.name(source); }
MaskSource parse_mask_source(const std::string& text) { return kMaskSources.parse(text); }

Result run_with_masks(Session& session, const Tensor& input, MaskSource source, RunOptions options,
                      Random& random) {
  if (source == MaskSource::full) options.dense = true;
  if (source == MaskSource::own || source == MaskSource::full) return session.run(input, options);
  RunOptions recorded = options;
  recorded.record_masks = true;
  const Trace own = session.run(input, recorded).trace;
  const NetworkGeometry geometry = network_geometry(session.spec(), {input.shape[2], input.shape[3]});
  const Placement placement = source == MaskSource::random ? Placement::random : Placement::centre;
  const MaskSet elsewhere = replaced_masks(session.spec(), geometry, own, placement, random);
  options.force_masks = &elsewhere;
  return session.run(input, options);
}

double macs_ratio(const ModelSpec& spec, const NetworkGeometry& geometry, const MaskSet& masks,
                  int64_t batch) {
  auto macs = static_cast<double>(fixed_macs(spec, geometry));
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockGeometry& block = geometry.blocks[b];
    const BlockMacs of_block = block_macs(spec.blocks[b], block);
    if (!spec.blocks[b].is_dynamic()) macs += static_cast<double>(of_block.dense_total());
    const auto mask = masks.find(spec.blocks[b].name);
    if (mask == masks.end()) continue;
    const auto pixels = static_cast<size_t>(block.output.pixels());
    for (int64_t n = 0; n < batch; ++n) {
      const auto image = std::span(mask->second.data).subspan(static_cast<size_t>(n) * pixels, pixels);
      macs += masked_macs(of_block, block, image) / static_cast<double>(batch);
    }
  }
  return macs / static_cast<double>(static_macs(spec, geometry.input));
}

double rate_for_macs(const ModelSpec& spec, const NetworkGeometry& geometry, double macs, uint64_t seed) {
  constexpr int64_t kImages = 8;
  constexpr int kSteps = 20;
  // One random stream for every rate: a patch active at one rate is active at all higher ones.
  const auto ratio_at = [&](double rate) {
    Random random(seed, "rate");
    return macs_ratio(spec, geometry, random_masks(spec, geometry, kImages, rate, random), kImages);
  };
  double low = 0, high = 1;
  const double least = ratio_at(low), most = ratio_at(high);
  if (!(macs >= least && macs <= most)) {
    throw UsageError(fmt::format(
        "--macs {:g}: masks of {} at {} x {} px give MAC ratios from {:.3f} to {:.3f}; ask for one "
        "of these or set the patch rate with --rate",
        macs, spec.arch.name, geometry.input.height, geometry.input.width, least, most));
  }
  for (int step = 0; step < kSteps; ++step) {
    const double rate = (low + high) / 2;
    (ratio_at(rate) < macs ? low : high) = rate;
  }
  return (low + high) / 2;
}

}  // namespace lasnet::cli
