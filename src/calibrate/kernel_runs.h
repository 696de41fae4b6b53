// Convolution kernels alone, everything they touch in near caches: shows what tiles and short runs cost apart
// from memory, which whole networks blur.
#pragma once

#include <vector>

#include "calibrate/fit.h"

namespace lasnet {

/// One row per shape of kernel: long and short runs, full and single vectors of output channels. Takes a
/// tenth of a second.
std::vector<FitRow> measure_kernels(const CpuHardware& machine);

}  // namespace lasnet
