// What a network is: its architecture as data, its weights, and the file both live in.
//
// A network is stem -> residual blocks -> global average pool -> linear classifier. A block is described by
// the chain of its convolutions, so one description serves BasicBlock, Bottleneck and their relatives.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/tensor.h"

namespace lasnet {

/// Height and width of an activation map, in pixels.
struct MapSize {
  int64_t height = 0;  ///< rows
  int64_t width = 0;   ///< columns

  /// height * width.
  int64_t pixels() const { return height * width; }
  bool operator==(const MapSize&) const = default;
};

/// The stem. `imagenet` is a 7x7 stride-2 convolution and a 3x3 stride-2 max-pool. `small`, for 32-128 px, is
/// one 3x3 stride-2 convolution without pooling. (CIFAR ResNets have such a conv1, but without stride.)
enum class StemKind { imagenet, small };

/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(StemKind kind);
LASNET_EXPORT StemKind parse_stem(const std::string& text);

/// What Squeeze-and-Excitation averages in a dynamic block. `active`: the active pixels of the image.
/// `dense`: all pixels, as networks trained with the authors' code expect. Every convolution before it then
/// has to compute the whole map. In a static block all pixels are active.
enum class SePool { active, dense };

/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(SePool pool);
LASNET_EXPORT SePool parse_se_pool(const std::string& text);

/// The granularity of a block with one patch per image, whatever its size: the block is computed for an image
/// or skipped ("layer skipping" of the paper's extension, LAUDNet). "layer" in texts. Larger than any map.
inline constexpr int kWholeMapGranularity = 1 << 20;

/// One S: "4" -> 4, "layer" -> kWholeMapGranularity. Throws Error on any other text.
LASNET_EXPORT int parse_patch_side(const std::string& text);
/// 4 -> "4", kWholeMapGranularity -> "layer".
LASNET_EXPORT std::string patch_side_to_string(int granularity);

/// What a user chooses: enough to derive the whole ModelSpec.
struct ArchConfig {
  std::string name = "resnet18";  ///< one of architecture_names()
  double width = 1.0;  ///< channel multiplier; channels are rounded to a multiple of 8 or of a group
  int classes = 1000;  ///< outputs of the classifier; 0: a backbone, which has none
  StemKind stem = StemKind::imagenet;  ///< `small` for images of 32 to 128 px
  /// S per stage, or per block, each from 1 to kWholeMapGranularity; empty: a static network
  std::vector<int> granularity = {};
  SePool se_pool = SePool::active;  ///< of networks with Squeeze-and-Excitation; others ignore it
  /// Last stages, 0 to 3, whose stride is replaced by dilated 3x3 convolutions, so that their maps stay
  /// larger. 2 is torchvision's replace_stride_with_dilation=[False, True, True]. Of ResNets with bottleneck
  /// blocks.
  int dilated_stages = 0;

  /// Whether it has maskers.
  bool is_dynamic() const { return !granularity.empty(); }
  bool operator==(const ArchConfig&) const = default;
};

/// "4-4-2-1" -> {4, 4, 2, 1}; "static" or "" -> {}. Entries are those of parse_patch_side. "layer" alone is
/// that of every stage. Throws Error naming any other entry.
LASNET_EXPORT std::vector<int> parse_granularity(const std::string& text);
/// {4, 4, 2, kWholeMapGranularity} -> "4-4-2-layer"; {} -> "static".
LASNET_EXPORT std::string granularity_to_string(const std::vector<int>& granularity);

/// One convolution followed by BatchNorm. Weight [out, in / groups, kernel, kernel], no bias.
struct ConvSpec {
  std::string name;       ///< weight tensor is `<name>.weight`
  std::string norm_name;  ///< `<norm_name>.{weight,bias,running_mean,running_var}`
  int in_channels = 0;    ///< of the input
  int out_channels = 0;   ///< of the output
  int kernel = 1;         ///< side of the window
  int stride = 1;         ///< in both directions
  int groups = 1;         ///< channels are convolved group by group
  int dilation = 1;       ///< pixels from one tap of the window to the next

  /// Zeros on each side.
  int padding() const { return kernel / 2 * dilation; }
  /// Output size: ceil(size / stride) for odd kernels with this padding.
  MapSize output(MapSize in) const {
    return {(in.height + stride - 1) / stride, (in.width + stride - 1) / stride};
  }
  /// Multiply-accumulates for one output pixel.
  int64_t macs_per_pixel() const {
    return static_cast<int64_t>(kernel) * kernel * (in_channels / groups) * out_channels;
  }
  /// Values of the weight tensor.
  int64_t weight_count() const { return macs_per_pixel(); }
  bool operator==(const ConvSpec&) const = default;
};

/// Squeeze-and-Excitation: z * sigmoid(fc2(ReLU(fc1(mean of z over pixels)))), per image and channel.
/// Weights `<name>.fc1.weight` [squeeze_channels, channels, 1, 1], `.fc1.bias`, `<name>.fc2.weight`
/// [channels, squeeze_channels, 1, 1], `.fc2.bias`.
struct SqueezeExciteSpec {
  std::string name;              ///< prefix of its tensors
  int channels = 0;              ///< of the map that is scaled
  int squeeze_channels = 0;      ///< between its two layers
  SePool pool = SePool::active;  ///< which pixels it averages

  /// Multiply-accumulates of its two layers, per image.
  int64_t macs() const { return int64_t{2} * channels * squeeze_channels; }
  bool operator==(const SqueezeExciteSpec&) const = default;
};

/// A residual block, y = ReLU(identity(x) + M * body(x)) (paper section 3.1). The body is the chain `convs`
/// with ReLU between them. A BasicBlock has 3x3, 3x3; a Bottleneck has 1x1, 3x3, 1x1. In a dynamic block
/// convs[0] runs on the dilated mask D: the pixels that convs[1] (the 3x3) reads for active outputs. All
/// later ones run on the mask M. Squeeze-and-Excitation scales the output of convs[1], after its ReLU, before
/// convs[2] reads it.
struct BlockSpec {
  std::string name;                                 ///< torchvision prefix, e.g. "layer1.0"
  int stage = 0;                                    ///< 0 to 3
  int in_channels = 0;                              ///< of the block's input
  int out_channels = 0;                             ///< of the block's output
  int stride = 1;                                   ///< of the whole block
  std::vector<ConvSpec> convs;                      ///< 2 or 3
  std::optional<SqueezeExciteSpec> squeeze_excite;  ///< after convs[1]; needs 3 convs
  std::optional<ConvSpec> projection;               ///< 1x1 stride-s identity path; absent: identity is x
  int granularity = 0;                              ///< S in output pixels; 0: a static block without masker

  /// Whether it has a masker.
  bool is_dynamic() const { return granularity > 0; }
  /// Whether an image computes all of it or nothing, at any size.
  bool skips_whole_maps() const { return granularity == kWholeMapGranularity; }
  /// Whether its Squeeze-and-Excitation averages all pixels.
  bool pools_densely() const { return squeeze_excite && squeeze_excite->pool == SePool::dense; }
  /// The masker's 1x1 convolution: `<masker_name>.weight` [2, in_channels, 1, 1], `<masker_name>.bias` [2].
  std::string masker_name() const { return name + ".masker.conv2"; }
  bool operator==(const BlockSpec&) const = default;
};

/// The whole network, layer by layer, with torchvision's names.
struct ModelSpec {
  ArchConfig arch;                ///< what it was made from
  ConvSpec stem;                  ///< the first convolution
  bool stem_pool = true;          ///< 3x3 stride-2 max-pool (padding 1) after the stem
  std::vector<BlockSpec> blocks;  ///< in network order
  std::string head_name = "fc";   ///< `<head_name>.weight` [classes, features], `<head_name>.bias`
  int features = 0;               ///< channels of the last block, inputs of the classifier

  /// Whether it has a classifier.
  bool has_head() const { return arch.classes > 0; }
  bool operator==(const ModelSpec&) const = default;
};

/// A map inside the network that a run can return (RunOptions::features). Its height and width are the
/// image's over `stride`, rounded up.
struct FeatureSpec {
  /// "stem": after the stem and its max-pool, where it has one. Else the last block's output of a stage, by
  /// torchvision's name of it: "layer1" to "layer4", in a RegNet "block1" to "block4".
  std::string name;
  int channels = 0;   ///< of the map
  int stride = 1;     ///< pixels of the image to one of the map, in both directions
  size_t blocks = 0;  ///< of the network that come before it

  bool operator==(const FeatureSpec&) const = default;
};
/// The maps that runs of a network can return, in network order.
LASNET_EXPORT std::vector<FeatureSpec> feature_specs(const ModelSpec& spec);
/// The one of this name. Throws Error that lists the names there are.
LASNET_EXPORT const FeatureSpec& find_feature(const std::vector<FeatureSpec>& specs, const std::string& name);

/// Names accepted by make_spec, e.g. "resnet18", "regnet_y_400mf".
LASNET_EXPORT std::vector<std::string> architecture_names();

/// Bias of logit 0 that fresh maskers of this architecture start with (5 for ResNets, 10 for RegNets). All
/// patches are then active at first.
LASNET_EXPORT float fresh_masker_bias(const ArchConfig& arch);

/// Expands a configuration. Throws Error on an unknown name (suggesting the nearest) and on a width or class
/// count that is not positive. It also does on a granularity that is neither one per stage nor one per block.
LASNET_EXPORT ModelSpec make_spec(const ArchConfig& arch);

/// Unfolded float32 parameters and BatchNorm buffers by torchvision name.
using Weights = std::map<std::string, Tensor>;

/// A tensor that a network needs.
struct TensorSpec {
  std::string name;  ///< as torchvision names it
  Shape shape;       ///< as stored
};
/// Every tensor that the spec needs, in network order.
LASNET_EXPORT std::vector<TensorSpec> required_tensors(const ModelSpec& spec);
/// Those of one block, its masker's included.
LASNET_EXPORT std::vector<TensorSpec> required_tensors(const BlockSpec& block);

/// How many values training changes. BatchNorm's running statistics are none of them.
struct ParameterCount {
  int64_t network = 0;  ///< of the static network, as other programs count them
  int64_t maskers = 0;  ///< of the maskers
};
/// Counts the parameters among these tensors.
LASNET_EXPORT ParameterCount count_parameters(const std::vector<TensorSpec>& tensors);

/// Random weights from a seed, the same on every platform. Convolutions are Kaiming-normal (fan-out),
/// BatchNorm is (1, 0, 0, 1), the classifier uniform, maskers as init_maskers makes them. Throws Error where
/// the memory does not hold them.
LASNET_EXPORT Weights random_weights(const ModelSpec& spec, uint64_t seed);

/// Writes maskers to be trained into `weights`. Their weight is Conv2d's usual uniform(+-1/sqrt(Cin)), their
/// bias (bias0, 0). Nearly all patches are active at first. Large activations can switch some off.
LASNET_EXPORT void init_maskers(const ModelSpec& spec, uint64_t seed, float bias0, Weights& weights);

/// How an image becomes the network's input.
struct Preprocessing {
  int resize = 256;  ///< shorter side after resizing, px (bilinear, antialiased)
  int crop = 224;    ///< centre crop, px; 0: no crop (any size, non-square)
  std::vector<float> mean = {0.485f, 0.456f, 0.406f};  ///< RGB, of values in [0, 1]
  std::vector<float> std = {0.229f, 0.224f, 0.225f};   ///< RGB, of values in [0, 1]

  bool operator==(const Preprocessing&) const = default;
};

/// Where weights were found in a file, and which others it has.
struct WeightsOrigin {
  std::string format;            ///< "safetensors" or "pytorch"; empty: not from a file
  bool has_description = false;  ///< the file has lasnet metadata
  std::string state_dict;        ///< keys to the state dict that was read; empty: the file itself
  std::vector<std::string> other_state_dicts;  ///< keys to others in the file, e.g. "state_dict_ema"
  std::string prefix;      ///< what all names began with, e.g. "backbone."; not in Weights
  int stored_maskers = 0,  ///< blocks with a masker in the file
      fresh_maskers = 0;   ///< dynamic blocks without one there
  /// Sentences for whoever chose the file and what to make of it: another granularity than it is made for,
  /// maskers or operating points that are left out, which of several state dicts was read.
  std::vector<std::string> warnings = {};

  bool operator==(const WeightsOrigin&) const = default;
};

/// One setting of the blocks' thresholds, and what it gave on labelled images.
struct OperatingPoint {
  double macs_ratio = 1;          ///< mean over the images
  double top1 = 0;                ///< share of the images
  std::vector<float> thresholds;  ///< of each block, in network order, as RunOptions::thresholds takes them
  std::vector<double> rates;      ///< mean activation rate of each block; 1 of a static one
  std::map<std::string, double> predicted_ms;  ///< of one image, by the name of a hardware profile

  bool operator==(const OperatingPoint&) const = default;
};

/// A convolution, with its BatchNorm folded, or the classifier in int8.
struct QuantizedLayer {
  Array<int8_t> weight;      ///< [out, in / groups, k, k], or [classes, features]; from -127 to 127
  std::vector<float> scale;  ///< [out]: a weight is its int8 value times this
  std::vector<float> bias;   ///< [out]

  bool operator==(const QuantizedLayer&) const = default;
};

/// How a map is kept in uint8: a value is (byte - zero) * scale.
struct MapQuantization {
  float scale = 0;     ///< above 0
  int zero = 0;        ///< 0 to 255; other than 0 of the network's input alone
  double clipped = 0;  ///< share of the values that lay beyond the largest byte where the scale was chosen

  bool operator==(const MapQuantization&) const = default;
};

/// What int8 runs of a network need, as quantize (lasnet/quantize.h) finds it.
struct Quantization {
  std::string method;  ///< how the maps' scales were chosen
  int64_t images = 0;  ///< on so many images
  /// By name: the stem, the convolutions of all blocks, projections, the classifier.
  std::map<std::string, QuantizedLayer> layers;
  /// By the name of what writes the map first: "input", the stem, convolutions inside blocks,
  /// Squeeze-and-Excitation, and blocks with a projection. A residual map has one scale: blocks that write it
  /// in place have no entry of their own.
  std::map<std::string, MapQuantization> maps;

  bool operator==(const Quantization&) const = default;
};

/// A network that can be run: everything a model file holds.
struct Model {
  ModelSpec spec;                        ///< the architecture
  Weights weights;                       ///< every tensor that `spec` needs
  std::vector<std::string> class_names;  ///< empty or arch.classes entries
  /// The folders of the classes in an image folder, where these are not their names; else empty.
  std::vector<std::string> class_folders = {};
  Preprocessing preprocessing;       ///< how an image becomes its input
  std::string training_json = "{}";  ///< a JSON object of facts about the training, free form
  /// By rising MAC ratio and top-1, with no threshold that rises; empty until `tune` (lasnet/tune.h) finds
  /// them.
  std::vector<OperatingPoint> operating_points = {};
  /// For Precision::int8. `weights` are then the same values in float32, BatchNorm folded into them.
  std::optional<Quantization> quantization = {};
  WeightsOrigin origin = {};  ///< set by load_model; not written
};

/// How parameters are stored in a file; in memory they are float32.
enum class DType { f32, f16, bf16 };
/// Its name, as in files and on command lines; parse_ functions read it and throw Error on any other text.
LASNET_EXPORT std::string to_string(DType dtype);
LASNET_EXPORT DType parse_dtype(const std::string& text);

/// The architecture that a model file's metadata describes. nullopt: a file without metadata, e.g. plain
/// torchvision weights. `state_dict` as of load_model. Throws Error when the file is malformed.
LASNET_EXPORT std::optional<ArchConfig> described_architecture(const std::string& path,
                                                               const std::string& state_dict = "");

/// The preprocessing that a model file's metadata describes. nullopt and Error as of described_architecture.
LASNET_EXPORT std::optional<Preprocessing> described_preprocessing(const std::string& path,
                                                                   const std::string& state_dict = "");

/// The number of classes of the classifier in a weight file, to complete an ArchConfig with. nullopt if it
/// has no `fc.weight`, as a backbone has none. Throws Error when the file is malformed.
LASNET_EXPORT std::optional<int> stored_classes(const std::string& path, const std::string& state_dict = "");

/// Reads a .safetensors model file, or plain weights: .safetensors or a PyTorch checkpoint (.pth, .pt), told
/// apart by their content.
///
/// With `arch`, the file may lack lasnet metadata, as PyTorch checkpoints and torchvision's weights do. An
/// `arch` that is not the file's drops its operating points.
/// Maskers absent from it are made fresh, of zero weights and a bias: they select every patch of every input.
/// Without `arch`, metadata is required. A prefix that all names share is taken off. `state_dict` chooses
/// among several of a PyTorch checkpoint by its keys, e.g. "state_dict_ema". Empty: the usual one, or the
/// only one. Model::origin says what was found.
///
/// Reading a checkpoint never executes anything of it. Values are read only once all names and shapes fit.
/// Throws Error when the file is malformed or its weights are more than plain data. An Error about tensors
/// lists all that are missing, unexpected, wrongly shaped or not finite.
LASNET_EXPORT Model load_model(const std::string& path, const std::optional<ArchConfig>& arch = std::nullopt,
                               const std::string& state_dict = "");

/// Writes `model` atomically (temporary file, then rename), parameters stored as `dtype`. A model with a
/// Quantization is written in int8; what is not int8 stays float32, and `dtype` must be f32.
LASNET_EXPORT void save_model(const Model& model, const std::string& path, DType dtype = DType::f32);

/// Throws Error listing every missing, unexpected, wrongly shaped or non-finite tensor. `origin` names the
/// source in the message.
LASNET_EXPORT void check_weights(const ModelSpec& spec, const Weights& weights, const std::string& origin);

}  // namespace lasnet
