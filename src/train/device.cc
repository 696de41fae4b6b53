#include "train/device.h"

#include <torch/cuda.h>

#include "base/fail.h"
#include "train/config.h"

namespace lasnet {

torch::Device device_of(const std::string& name, int local_rank) {
  const int gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  if (name == "cpu" || (name == "auto" && gpus == 0)) return torch::kCPU;
  if (gpus == 0) {
    fail(
        "{} {}: this libtorch sees no GPU; give cpu, or build training against a PyTorch with CUDA and check "
        "the driver (nvidia-smi)",
        setting_name("device"), name);
  }
  const int number = gpu_number(name).value_or(local_rank % gpus);
  if (number >= gpus) {
    fail("{} {}: this machine has {} GPU{}; expected cuda:0 to cuda:{}, or cpu", setting_name("device"), name,
         gpus, gpus == 1 ? "" : "s", gpus - 1);
  }
  return {torch::kCUDA, static_cast<torch::DeviceIndex>(number)};
}

torch::Tensor to_device(const torch::Tensor& tensor, torch::Device device) {
  if (tensor.device() == device) return tensor;
  const bool is_fetched = device.is_cuda() && tensor.device().is_cpu();
  return (is_fetched ? tensor.pin_memory() : tensor).to(device, /*non_blocking=*/is_fetched);
}

}  // namespace lasnet
