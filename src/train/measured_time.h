// How long a trained network takes on this machine, with its own masks and without any.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "lasnet/model.h"
#include "train/deployment.h"

namespace lasnet {

/// Milliseconds of a run, medians.
struct MeasuredTime {
  double static_ms = 0, dynamic_ms = 0;
};

/// Runs the network as `deployment` says, on this machine's CPU. Dense and masked runs take turns on the same
/// images, [1, 3, H, W] each, which begin anew when they are used up. `proceed` is asked before each pair of
/// runs; nothing is returned once it says no.
std::optional<MeasuredTime> measure_time(const Model& model, const std::vector<Tensor>& images,
                                         const Deployment& deployment, const std::function<bool()>& proceed);

}  // namespace lasnet
