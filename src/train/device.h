// Where steps are computed: on this machine's CPU, or on a GPU that libtorch has.
#pragma once

#include <torch/types.h>

#include <string>

namespace lasnet {

/// Of TrainConfig::device. "auto" is a GPU if libtorch sees one, else the CPU. Where several processes share
/// a machine, "auto" and "cuda" give each the GPU of its number there. Throws Error if libtorch sees no such
/// device.
torch::Device device_of(const std::string& name, int local_rank);

/// The tensor there. A GPU fetches it while the CPU goes on.
torch::Tensor to_device(const torch::Tensor& tensor, torch::Device device);

}  // namespace lasnet
