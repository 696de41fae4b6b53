// What a build without CUDA says when asked to measure its kernels.
#include "calibrate/cuda_measure.h"
#include "core/fail.h"

namespace lasnet {

CudaMeasurements measure_cuda(const CudaMeasureOptions&, const CudaMeasureProgress&) {
  fail("calibrate --device cuda: {}", cuda_unavailable_reason());
}

}  // namespace lasnet
