// Noise-free evaluation on the validation set, and what it reveals about the masks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/train.h"
#include "train/losses.h"
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

/// Runs the net on running statistics: a dynamic one with decided masks, a static one densely. `proceed` is
/// called before each batch with its index; when it returns false the evaluation is abandoned.
std::optional<EvaluationDetail> evaluate(const MaskedNet& net, const TrainData& data,
                                         const std::function<bool(int64_t)>& proceed);

/// A sentence on the blocks whose masks are (nearly) the same for every image: on those collapsed to 0 and,
/// once `progress` e/E has passed the first third, on those saturated at 1; with what to do about it.
std::vector<std::string> mask_warnings(const MaskStatistics& masks, double progress);

/// A sentence on a validation loss that no network comes to by learning; nothing if it is not so.
/// `learning_rate` is the option that would be too high.
std::optional<std::string> divergence_warning(double loss, size_t classes, const std::string& learning_rate);

}  // namespace lasnet
