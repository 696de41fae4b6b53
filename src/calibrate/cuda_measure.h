// Timing the CUDA kernels one by one on the device. A graph holds several launches of the same kernel
// between two events. So the time from one launch to the next counts, as in a network.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/cuda_fit.h"

namespace lasnet {

/// A convolution from map to map, stride 1, over the pixels of random patches.
struct CudaConvCase {
  int height = 1, width = 1;
  int in = 8, out = 8;
  int kernel = 1;
  int granularity = 1;
  bool adds = false;  ///< to its output
};

/// A map that the other kernels run on.
struct CudaMapCase {
  int height = 1, width = 1;
  int channels = 8;
  int granularity = 1;  ///< of masker and lists
};

struct CudaMeasureOptions {
  std::vector<CudaConvCase> convs;
  std::vector<CudaMapCase> maps;
  std::vector<int> batches = {64, 1, 16, 4};  ///< in the order in which a short budget drops the last
  std::vector<double> rates = {1, 0.4};       ///< of the convolutions' patches
  std::vector<Precision> precisions = {Precision::fp32, Precision::tf32, Precision::fp16};
  int classes = 777;         ///< of the classifier that runs on a map's means
  double budget_s = 18;      ///< then the cases that are left of a layer are passed over
  int runs = 6;              ///< of a graph
  int max_launches = 32;     ///< in a graph
  double launches_s = 4e-4;  ///< fewer launches if they take as long as that
  uint64_t seed = 0;
};

/// Layers and maps whose widths and sizes no ordinary network has.
CudaMeasureOptions default_cuda_measurements();

struct CudaMeasurements {
  std::string device;
  int multiprocessors = 1;
  double clock_hz = 0, memory_bytes_per_s = 0;     ///< of the device, at most
  bool runs_hopper = false;                        ///< so do all tiles that suit a case
  std::vector<std::vector<CudaConvSample>> convs;  ///< by case, every tile
  std::vector<CudaKernelSample> kernels;
};

/// Told the share that is done and what runs now.
using CudaMeasureProgress = std::function<void(double share, const std::string& now)>;

/// Throws Error in builds without CUDA and on machines without a device.
CudaMeasurements measure_cuda(const CudaMeasureOptions& options, const CudaMeasureProgress& progress);

}  // namespace lasnet
