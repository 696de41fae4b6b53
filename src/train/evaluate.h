// Noise-free evaluation on the validation set, and what it reveals about the masks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/losses.h"
#include "train/train.h"
#include "train/train_data.h"

namespace lasnet {

struct MaskStatistics {
  std::vector<std::string> blocks;  ///< dynamic blocks, in order
  std::vector<double> mean, std;    ///< of r over images
};

struct EvaluationDetail {
  Evaluation figures;
  MaskStatistics masks;
};

/// Runs the net as it is deployed, by the engine: the same function as MaskedNet's on running statistics with
/// decided masks, and faster. Every process runs its share of the images, and all get the figures of all.
/// `cost` predicts the time, if it is of time. `proceed` is called before each batch with its index; when it
/// returns false the evaluation is abandoned.
std::optional<EvaluationDetail> evaluate(const MaskedNet& net, const NetworkCost& cost, const TrainData& data,
                                         World& world, const std::function<bool(int64_t)>& proceed);

/// Names of the blocks whose masks are (nearly) the same for every image.
struct ConstantMasks {
  std::vector<std::string> empty, full;
};
/// Full ones are only named once `progress` e/E has passed the first third: all are at the start.
ConstantMasks constant_masks(const MaskStatistics& masks, double progress);

/// A sentence on a static network whose accuracy cannot be told from guessing, which says what that mostly
/// comes from; else empty.
std::string chance_warning(const Evaluation& evaluation, size_t classes, const Preprocessing& preprocessing);

/// A sentence on a validation loss that no network comes to by learning; nothing if it is not so.
/// `learning_rate` is the option that would be too high.
std::optional<std::string> divergence_warning(double loss, size_t classes, const std::string& learning_rate);

}  // namespace lasnet
