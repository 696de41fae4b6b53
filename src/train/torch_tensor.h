// Crossing between lasnet's plain arrays and libtorch's tensors. Both directions copy.
#pragma once

#include <torch/types.h>

#include "lasnet/model.h"

namespace lasnet {

/// float32 on the CPU; convolution weights in channels-last layout, in which libtorch convolves about twice
/// as fast.
torch::Tensor to_torch(const Tensor& array);
/// Values in row-major order of the logical shape, whatever the tensor's strides and device.
Tensor from_torch(const torch::Tensor& tensor);
/// The same for masks: values are rounded to 0 or 1.
ByteTensor bytes_from_torch(const torch::Tensor& tensor);

}  // namespace lasnet
