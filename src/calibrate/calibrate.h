// Calibration: fitting a hardware profile's costs to this machine by running a few networks on it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/cuda_measure.h"
#include "calibrate/fit.h"
#include "calibrate/measure.h"
#include "engine/hardware_facts.h"

namespace lasnet {

struct Calibration {
  HardwareProfile profile;
  size_t fitted = 0;    ///< runs of blocks, or of CUDA kernels, that the costs were fitted to
  FitQuality fit;       ///< on those
  FitQuality held_out;  ///< on runs that were not fitted
  double noise = 0;     ///< median difference of two measurements of the same thing
  double seconds = 0;   ///< that it took
};

/// Told the share that is done and what runs now.
using CalibrationProgress = std::function<void(double share, const std::string& now)>;

struct CalibrationOptions {
  double budget_s = 75;  ///< measuring ends about then; repetitions adapt
  uint64_t seed = 0;
};

/// Measures networks of unusual widths and sizes (so that ordinary networks remain to test predictions on)
/// with one thread and with all `machine.cores`, and fits `machine`'s costs. Takes the budget, and seconds
/// more.
Calibration calibrate_cpu(const CpuHardware& machine, const CalibrationOptions& options,
                          const CalibrationProgress& progress);

/// Times the CUDA kernels on the first device and fits their costs: every fifth case is held out. The
/// profile's name is `cuda`. Throws Error in builds without CUDA and on machines without a device.
Calibration calibrate_cuda(const CudaMeasureOptions& options, const CalibrationProgress& progress);

}  // namespace lasnet
