// What a build without CUDA says when asked for it.
#include "base/fail.h"
#include "engine/executable.h"

namespace lasnet {

std::vector<CudaDevice> cuda_devices() { return {}; }

std::string cuda_unavailable_reason() {
  return "this build has no CUDA kernels; build with -DLASNET_CUDA=ON where nvcc is installed (`make build` "
         "does, `make demo` only where a GPU is)";
}

int cuda_code_architecture() { return 0; }

std::shared_ptr<const Executable> make_cuda_executable(const Model&, Precision,
                                                       const std::optional<NetworkSchedule>&,
                                                       const DeviceCalibration&) {
  fail("the cuda backend cannot run: {}. Use the cpu backend", cuda_unavailable_reason());
}

}  // namespace lasnet
