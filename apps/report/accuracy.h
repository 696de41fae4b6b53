// How often a network is right: measured where there are labels, else as its file records it.
#pragma once

#include <vector>

#include "setup.h"

namespace lasnet::cli {

/// Labelled images as the network sees them, evenly spread over the folder.
struct LabelledInputs {
  std::vector<Tensor> inputs;
  std::vector<int> labels;
};
LabelledInputs load_labelled(const Setup& setup);

/// Share of the inputs that these options classify rightly, and their mean MAC ratio.
struct Accuracy {
  double top1 = 0, macs_ratio = 0;
};
Accuracy accuracy_of(Session& session, const LabelledInputs& labelled, const RunOptions& options);

/// {"source", "images", "entries": [{"network", "top1", "macs_ratio"}]}: of the dense and the sparse run,
/// measured; or what training recorded in the model file; without entries where nothing is known.
Json accuracy_json(const Setup& setup);

}  // namespace lasnet::cli
