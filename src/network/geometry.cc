#include "lasnet/geometry.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"

namespace lasnet {
namespace {

constexpr int64_t kMinImageSide = 32;
constexpr int64_t kMaxImageSide = 1 << 15;

BlockGeometry block_geometry(const BlockSpec& block, MapSize input) {
  BlockGeometry geometry;
  geometry.input = input;
  geometry.middle = block.convs[0].output(input);
  geometry.dilation_stride = block.convs[1].stride;
  geometry.dilation = block.convs[1].dilation;
  geometry.output = block.convs[1].output(geometry.middle);
  geometry.grid = {geometry.output, block.granularity};
  if (block.skips_whole_maps()) {
    geometry.grid.granularity = static_cast<int>(std::max(geometry.output.height, geometry.output.width));
  }
  return geometry;
}

}  // namespace

NetworkGeometry network_geometry(const ModelSpec& spec, MapSize image) {
  if (std::min(image.height, image.width) < kMinImageSide ||
      std::max(image.height, image.width) > kMaxImageSide) {
    fail("{}: an input of {} x {} pixels; expected {} to {} on each side", spec.arch.name, image.height,
         image.width, kMinImageSide, kMaxImageSide);
  }
  NetworkGeometry geometry;
  geometry.input = image;
  geometry.stem = spec.stem.output(image);
  geometry.trunk = geometry.stem;
  if (spec.stem_pool) geometry.trunk = {(geometry.stem.height + 1) / 2, (geometry.stem.width + 1) / 2};
  MapSize map = geometry.trunk;
  for (const BlockSpec& block : spec.blocks) {
    geometry.blocks.push_back(block_geometry(block, map));
    map = geometry.blocks.back().output;
  }
  return geometry;
}

BlockMacs::Terms BlockMacs::terms() const {
  Terms terms;
  terms.always = static_cast<double>(masker + projection);
  terms.nonempty = static_cast<double>(squeeze_excite);
  for (size_t i = 0; i < convs.size(); ++i) {
    double& term = dense_pool && i + 1 < convs.size() ? terms.nonempty
                   : i == 0                           ? terms.dilated
                                                      : terms.active;
    term += static_cast<double>(convs[i]);
  }
  return terms;
}

int64_t BlockMacs::dense_total() const {
  return std::accumulate(convs.begin(), convs.end(), masker + projection + squeeze_excite);
}

double BlockMacs::dynamic_total(double rate, double dilated_rate) const {
  Terms t = terms();
  return t.always + (rate > 0 ? t.nonempty : 0) + t.dilated * dilated_rate + t.active * rate;
}

BlockMacs block_macs(const BlockSpec& block, const BlockGeometry& geometry) {
  BlockMacs macs;
  if (block.is_dynamic()) macs.masker = 2 * block.in_channels * geometry.grid.patches();
  if (block.projection) macs.projection = block.projection->macs_per_pixel() * geometry.output.pixels();
  for (size_t i = 0; i < block.convs.size(); ++i) {
    MapSize map = i == 0 ? geometry.middle : geometry.output;
    macs.convs.push_back(block.convs[i].macs_per_pixel() * map.pixels());
  }
  if (block.squeeze_excite) {
    macs.squeeze_excite = block.squeeze_excite->macs();
    macs.dense_pool = block.squeeze_excite->pool == SePool::dense;
  }
  return macs;
}

int64_t fixed_macs(const ModelSpec& spec, const NetworkGeometry& geometry) {
  return spec.stem.macs_per_pixel() * geometry.stem.pixels() + int64_t{spec.features} * spec.arch.classes;
}

int64_t static_macs(const ModelSpec& spec, MapSize image) {
  NetworkGeometry geometry = network_geometry(spec, image);
  int64_t total = fixed_macs(spec, geometry);
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    total += block_macs(spec.blocks[i], geometry.blocks[i]).static_total();
  }
  return total;
}

}  // namespace lasnet
