// Map sizes and multiply-accumulates of a network at one input size: pure functions of the description.
#pragma once

#include <cstdint>
#include <vector>

#include "lasnet/mask.h"
#include "lasnet/model.h"

namespace lasnet {

/// Map sizes of one block.
struct BlockGeometry {
  MapSize input;            ///< block input x
  MapSize middle;           ///< output of convs[0] = input of convs[1]: the map of the dilated mask D
  MapSize output;           ///< block output y: the map of the mask M
  int dilation_stride = 1;  ///< stride of convs[1], which relates M to D
  int dilation = 1;         ///< of convs[1], as of ConvSpec
  /// Patches of M. Its granularity is 0 in a static block, and the map's longer side where the block's is
  /// kWholeMapGranularity.
  PatchGrid grid;

  bool operator==(const BlockGeometry&) const = default;
};

/// Map sizes of a network at one image size.
struct NetworkGeometry {
  MapSize input;                      ///< image
  MapSize stem;                       ///< after the stem convolution
  MapSize trunk;                      ///< after the optional max-pool: input of the first block
  std::vector<BlockGeometry> blocks;  ///< in network order
};

/// The map sizes for an image. Throws Error if it is smaller than 32 px on a side.
LASNET_EXPORT NetworkGeometry network_geometry(const ModelSpec& spec, MapSize image);

/// MACs of one block for one image (pooling and additions are not counted; paper section 3.2).
struct LASNET_EXPORT BlockMacs {
  int64_t masker = 0;          ///< 2 * Cin per patch; 0 in a static block
  int64_t projection = 0;      ///< dense
  std::vector<int64_t> convs;  ///< dense MACs of each body convolution
  int64_t squeeze_excite = 0;  ///< its two linear layers
  /// Whether Squeeze-and-Excitation averages all pixels. All convolutions but the last are then never sparse.
  bool dense_pool = false;

  /// A block's cost as a function of its rates: always + nonempty * [rate > 0] + dilated * dilated_rate +
  /// active * rate.
  struct Terms {
    double always = 0,  ///< whatever the mask
        nonempty = 0,   ///< of an image with an active patch
        dilated = 0,    ///< times the dilated rate
        active = 0;     ///< times the rate
  };
  /// The terms of this block.
  Terms terms() const;

  /// Masker, projection, and the body at full activity.
  int64_t dense_total() const;
  /// Without the masker: what the static block costs.
  int64_t static_total() const { return dense_total() - masker; }
  /// What one image with these rates costs.
  double dynamic_total(double rate, double dilated_rate) const;
};

/// MACs of a block at these map sizes.
LASNET_EXPORT BlockMacs block_macs(const BlockSpec& block, const BlockGeometry& geometry);

/// Stem and head MACs for one image: never dynamic.
LASNET_EXPORT int64_t fixed_macs(const ModelSpec& spec, const NetworkGeometry& geometry);

/// MACs of the static network (no maskers) for one image: the denominator of every MAC ratio.
LASNET_EXPORT int64_t static_macs(const ModelSpec& spec, MapSize image);

}  // namespace lasnet
