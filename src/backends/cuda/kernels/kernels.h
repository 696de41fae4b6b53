// The CUDA operators: what the engine calls. Each has a .cu file of its name, which starts with its formula
// and layout.
//
// Activations are NHWC maps with a one-pixel zero border, as on the CPU, with channels padded to 16 bytes;
// padding channels hold zeros. Operators take lists of pixels whose length only the device knows; they are
// launched on a stream and return at once. Pointers are to device memory unless they say otherwise. All throw
// Error if a launch is refused.
#pragma once

#include <cstdint>

#include "backends/cuda/kernels/conv_shape.h"
#include "backends/cuda/kernels/list_geometry.h"
#include "backends/cuda/kernels/runtime.h"
#include "backends/cuda/tiles.h"

namespace lasnet::cuda {

/// Pairs of pixels in image and row order.
struct DeviceList {
  int32_t* in = nullptr;
  int32_t* out = nullptr;
  int32_t* image_begin = nullptr;  ///< [images + 1]; the last is the list's length
};

/// A map [pixels][pitch] of elements of the network's precision.
struct DeviceMap {
  void* data = nullptr;
  int pitch = 0;  ///< elements between pixels
  int height = 0, width = 0;
  int channels = 0;
};

// ---- mask.cu: patch decisions -> lists ----

/// How far the chunks of a list are. Zero before the first launch; later ones know what they wrote
/// themselves.
struct ListProgress {
  unsigned long long* cells = nullptr;     ///< [images * chunks_per_image]
  unsigned long long* launches = nullptr;  ///< so far
};

/// One list to build.
struct ListTarget {
  ListKind kind = ListKind::active;
  /// An image with at least this many active patches lists every pixel; more than there are: never.
  int whole_from_patches = 1 << 30;
  DeviceList list;
  ListProgress progress = {};      ///< unused by lists of every pixel: `projected`, or without patches
  int32_t* mask_counts = nullptr;  ///< what the mask alone lists, per chunk; may be null
};

inline constexpr int kMaxTargets = 5;  ///< a list of each kind
struct ListCall {
  ListGeometry geometry;
  const uint8_t* patches = nullptr;  ///< [images][rows][cols]; null: all active
  ListTarget targets[kMaxTargets];
  int count = 0;
};
void build_lists(Stream& stream, const ListCall& call);

// ---- masker.cu, masker_group.cu: logit differences and decisions ----

/// How a masker's decisions follow from its differences. It is read when a kernel runs, so that a graph that
/// has been recorded obeys another one.
struct DecisionRule {
  int32_t force = 0;    ///< not 0: they do not; forced decisions replace them
  float threshold = 0;  ///< least difference of an active patch
};

/// A masker, and where its results go.
struct MaskerTarget {
  const float* weight = nullptr;       ///< w0 - w1, [x.pitch], zero in the padding; aligned to 16 bytes
  float bias = 0;                      ///< b0 - b1
  const uint8_t* forced = nullptr;     ///< decisions instead of the masker's, where rule->force is not 0
  const DecisionRule* rule = nullptr;  ///< of all patches
  float* differences = nullptr;        ///< [images][rows][cols]
  uint8_t* patches = nullptr;          ///< the same
};

struct MaskerCall {
  ListGeometry geometry;
  DeviceMap x;  ///< block input
  MaskerTarget target;
};
void masker(Stream& stream, Precision precision, const MaskerCall& call);

/// Several blocks' maskers, whose patches are the same windows of one map, in one pass over it.
struct MaskerGroupCall {
  ListGeometry geometry;  ///< of any of them
  DeviceMap x;
  MaskerTarget targets[kMaxMaskers];
  int count = 0;
  /// Patches to decide about, the first *listed_count of [images * patches]; null: every patch.
  const int32_t* listed = nullptr;
  const int32_t* listed_count = nullptr;
};
/// The bits that masker() gives for each.
void masker_group(Stream& stream, Precision precision, const MaskerGroupCall& call);

// ---- conv_fp32.cu, conv_tensor.cu, conv_hopper.cu: convolution over a list ----

struct ConvCall {
  const void* in = nullptr;
  void* out = nullptr;
  const void* weights = nullptr;  ///< packed as the tile takes them (pack.h)
  const float* bias = nullptr;    ///< [slices * kSlice], aligned to 16 bytes
  const int32_t* in_pixels = nullptr;
  const int32_t* out_pixels = nullptr;
  const int32_t* count = nullptr;  ///< pixels to compute
  int64_t max_pixels = 0;          ///< the lists' capacity: bounds *count
  int in_pitch = 0, out_pitch = 0;
  int out_channels = 0;  ///< stored, a multiple of kPitchMultiple
  int taps = 1;
  int run = 0;                      ///< input elements per tap
  int tap_offsets[kMaxTaps] = {};   ///< elements from the centre pixel
  int group_in = 0, group_out = 0;  ///< channels per group; 0: one group
  Epilogue epilogue = Epilogue::bias;
};

void conv(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call);
/// The part of `hopper` tiles.
void conv_hopper(Stream& stream, Precision precision, const CudaTile& tile, const ConvCall& call);

// ---- stem.cu, pool.cu ----

/// NCHW float32 -> NHWC with a border, in the network's precision.
struct ImageCall {
  const float* input = nullptr;  ///< [images][channels][height][width]
  void* out = nullptr;           ///< [images][height + 2 * border][row_pixels][pitch]
  int images = 0, channels = 0, height = 0, width = 0, border = 0;
  int row_pixels = 0;  ///< at least width + 2 * border
  int pitch = 0;       ///< elements per pixel: 8 or 16 bytes
};
void image_to_map(Stream& stream, Precision precision, const ImageCall& call);

/// 3x3 stride-2 max-pool, padding 1, of a non-negative map.
struct MaxPoolCall {
  DeviceMap in, out;
  int images = 0;
};
void max_pool(Stream& stream, Precision precision, const MaxPoolCall& call);

/// Mean over each image's listed output pixels, per channel; 0 where an image lists none.
struct MeanCall {
  DeviceMap map;
  DeviceList list;
  int images = 0;
  float* out = nullptr;  ///< [images][map.pitch]
};
void mean(Stream& stream, Precision precision, const MeanCall& call);

// ---- head.cu ----

/// logits = weight . features + bias. Pitches are multiples of 4, what pads them is zero.
struct HeadCall {
  const float* features = nullptr;  ///< [images][pitch]
  const float* weight = nullptr;    ///< [classes][pitch]
  const float* bias = nullptr;      ///< [classes]
  float* logits = nullptr;          ///< [images][logits_pitch]
  int images = 0, classes = 0, pitch = 0, logits_pitch = 0;
};
void head(Stream& stream, const HeadCall& call);

// ---- squeeze_excite.cu ----

struct ExciteCall {
  const float* pooled = nullptr;   ///< [images][pitch]
  const float* weight1 = nullptr;  ///< [squeezed][channels]
  const float* bias1 = nullptr;
  const float* weight2 = nullptr;  ///< [channels][squeezed]
  const float* bias2 = nullptr;
  float* scale = nullptr;  ///< [images][pitch]
  int images = 0, channels = 0, squeezed = 0, pitch = 0;
};
/// scale = sigmoid(fc2(ReLU(fc1(pooled)))).
void excite(Stream& stream, const ExciteCall& call);

/// Multiplies the listed output pixels by their image's scale.
struct ScaleCall {
  DeviceMap map;
  DeviceList list;
  int images = 0;
  const float* scale = nullptr;  ///< [images][map.pitch]
};
void scale_pixels(Stream& stream, Precision precision, const ScaleCall& call);

// ---- unfused.cu: what the fused schedule saves ----

/// Copies the 3x3 windows' pixels of active patches: patch p of the grid, halo included, to slot p of the
/// buffer.
struct GatherCall {
  ListGeometry geometry;
  DeviceMap middle;
  const uint8_t* patches = nullptr;  ///< null: all active
  void* buffer = nullptr;            ///< [images * patches][side][side][pitch], side = halo_side
};
void gather_patches(Stream& stream, Precision precision, const GatherCall& call);
/// Where the gathered patches hold the centres of a list of output pixels: in[i] for each entry of list.out.
void gathered_pixels(Stream& stream, const ListGeometry& geometry, const DeviceList& list, int32_t* in);

/// y = max(0, y + body) over the whole map.
struct AddCall {
  DeviceMap y;
  const void* body = nullptr;  ///< a map like y
  int images = 0;
};
void add_relu(Stream& stream, Precision precision, const AddCall& call);

// ---- feature.cu ----

/// A map's values as float32, without border and padding, in one of two orders: channels of a pixel beside
/// each other (channel_step 1), or pixels of a channel (pixel_step 1).
struct FeatureCall {
  DeviceMap map;
  float* out = nullptr;  ///< [images][map.channels * pixels]
  int images = 0;
  int64_t channel_step = 0, pixel_step = 0;  ///< from one to the next in `out`
};
void copy_feature(Stream& stream, Precision precision, const FeatureCall& call);

// ---- finite.cu ----

/// Where a layer leaves the finite numbers: *first = min over listed pixels and channels of
/// 2 * (pixel * channels + channel) + (value is NaN); all ones: nowhere.
struct FiniteCall {
  const void* data = nullptr;
  int pitch = 0, channels = 0;
  const int32_t* pixels = nullptr;  ///< inverted entries allowed; null: 0, 1, 2 ...
  const int32_t* count = nullptr;
  unsigned long long* first = nullptr;
};
void find_not_finite(Stream& stream, Precision precision, int64_t max_pixels, const FiniteCall& call);

}  // namespace lasnet::cuda
