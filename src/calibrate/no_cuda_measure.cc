// What a build without CUDA says when asked to measure its kernels.
#include "base/fail.h"
#include "calibrate/cuda_measure.h"

namespace lasnet {

CudaMeasurements measure_cuda(const CudaMeasureOptions&, const CudaMeasureProgress&) {
  fail("calibration of CUDA kernels: {}", cuda_unavailable_reason());
}

}  // namespace lasnet
