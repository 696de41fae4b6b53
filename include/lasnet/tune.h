// Finding the operating points of a trained network: thresholds at which it computes less, or more, than it
// was trained to, and what accuracy is left there.
#pragma once

#include <functional>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/hardware.h"
#include "lasnet/model.h"

namespace lasnet {

/// An image as the network sees it, and its class.
struct LabelledImage {
  Tensor input;   ///< float32 [1, 3, H, W], preprocessed
  int label = 0;  ///< index of its logit
};

/// A set of labelled images, which is read in parts, and several times.
struct LabelledImages {
  int64_t count = 0;  ///< of the set
  /// The images of these indices, 0 to count - 1. It may leave out those that cannot be read.
  std::function<std::vector<LabelledImage>(const std::vector<int64_t>& indices)> read;
};

/// How far tuning is.
struct TuneProgress {
  double share = 0;        ///< of the expected work, 0 to 1
  bool measuring = false;  ///< on all images; else thresholds are still being chosen
  double macs_ratio = 1;   ///< while choosing: of the thresholds that were chosen last ...
  double loss = 0;         ///< ... and their mean cross entropy
};

/// How operating points are looked for.
struct TuneOptions {
  int points = 16;  ///< 2 to 100: operating points that are measured, beside the trained one
  /// So many, drawn from the set, decide which thresholds are chosen. They are kept in memory.
  int images = 256;
  int batch = 32;               ///< images per run, 1 to 4096
  uint64_t seed = 0;            ///< of the draw
  SessionOptions session = {};  ///< on what it runs
  /// For which times are predicted (OperatingPoint::predicted_ms).
  std::vector<HardwareProfile> hardware = {};
  /// Called after every batch; may be empty.
  std::function<void(const TuneProgress&)> progress = {};
};

/// Operating points for MAC ratios from the least that the maskers allow to 1, as Model::operating_points
/// takes them.
///
/// Two walks begin at the trained thresholds, 0: one towards fewer MACs, one towards more. Each step moves
/// the threshold of one block so far that the network's MACs change by about a third of the distance between
/// points. The step is taken that costs the least cross entropy, or gains the most, for each MAC. Both are
/// measured by running the drawn images. A block's earlier figure stands in until it is the best one left,
/// and is then measured again. So thresholds never rise towards more MACs, and between two points they can be
/// interpolated.
///
/// Points at about equal distances are then measured on all images. A point that is less accurate than one
/// with fewer MACs is left out.
///
/// Throws Error on a static network, on a backbone without a classifier, and on options out of range. It also
/// does on a set without a readable image, on labels that are no class, and on logits and logit differences
/// that are not finite. Session and predict_latency throw theirs.
LASNET_EXPORT std::vector<OperatingPoint> tune(const Model& model, const LabelledImages& data,
                                               const TuneOptions& options = {});

/// What to tell whoever tunes on so few images that their top-1 says little: "" of 100 or more.
LASNET_EXPORT std::string few_images_warning(int64_t images);

}  // namespace lasnet
