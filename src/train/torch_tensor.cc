#include "train/torch_tensor.h"

namespace lasnet {
namespace {

template <typename T>
Array<T> copy_out(const torch::Tensor& tensor, torch::ScalarType type) {
  torch::Tensor flat = tensor.detach().to(torch::kCPU, type).contiguous();
  Array<T> array;
  array.shape = flat.sizes().vec();
  const T* values = flat.data_ptr<T>();
  array.data.assign(values, values + flat.numel());
  return array;
}

}  // namespace

torch::Tensor to_torch(const Tensor& array) {
  torch::Tensor tensor = torch::empty(array.shape, torch::kFloat32);
  std::copy(array.data.begin(), array.data.end(), tensor.data_ptr<float>());
  return array.shape.size() == 4 ? tensor.contiguous(torch::MemoryFormat::ChannelsLast) : tensor;
}

Tensor from_torch(const torch::Tensor& tensor) { return copy_out<float>(tensor, torch::kFloat32); }

ByteTensor bytes_from_torch(const torch::Tensor& tensor) {
  return copy_out<uint8_t>(tensor.round(), torch::kUInt8);
}

}  // namespace lasnet
