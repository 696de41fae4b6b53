// A model compiled for the CUDA kernels: folded, packed, in device memory, with the schedule of each block.
#pragma once

#include <optional>
#include <vector>

#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/pack.h"
#include "backends/cuda/plan.h"
#include "engine/executable.h"
#include "engine/fold.h"

namespace lasnet {

/// Everything constant that the kernels read, in one allocation.
class CudaWeights {
 public:
  /// Adds bytes; what it returns finds them after upload().
  int64_t add(const std::vector<uint8_t>& bytes);
  int64_t add(const std::vector<float>& values);
  void upload();
  const void* at(int64_t offset) const { return static_cast<const unsigned char*>(memory_.data()) + offset; }
  const float* floats(int64_t offset) const { return static_cast<const float*>(at(offset)); }

 private:
  std::vector<uint8_t> staged_;
  cuda::DeviceBuffer memory_;
};

/// A convolution; weights and bias are places in CudaWeights.
struct CudaConv {
  ConvSpec spec;
  Precision precision = Precision::fp32;
  bool merge_rows = false;
  int taps = 1, run = 0, group_in = 0, group_out = 0;
  int64_t weights = 0, bias = 0;
  int64_t hopper_weights = -1;  ///< less than 0: `hopper` tiles do not run
};

struct CudaSqueezeExcite {
  SqueezeExciteSpec spec;
  int64_t weight1 = 0, bias1 = 0, weight2 = 0, bias2 = 0;
};

struct CudaBlock {
  std::vector<CudaConv> convs;
  std::optional<CudaSqueezeExcite> squeeze_excite;
  std::optional<CudaConv> projection;
  int64_t masker_weight = 0;  ///< [input channels, padded as in maps]
  float masker_bias = 0;
};

/// The classifier, in fp32 over the pooled features.
struct CudaHead {
  int64_t weight = 0;  ///< [classes][pitch]
  int64_t bias = 0;
  int pitch = 0;
};

class CudaExecutable final : public Executable {
 public:
  /// `plan` has an entry per block, of which feasible_cuda_schedule makes what runs.
  CudaExecutable(const Model& model, Precision precision, const std::optional<NetworkSchedule>& plan,
                 const cuda::DeviceLimits& device, const DeviceCalibration& calibration);

  std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const override;

  const CudaWeights& weights() const { return weights_; }
  const CudaConv& stem() const { return stem_; }
  const std::vector<CudaBlock>& blocks() const { return blocks_; }
  const CudaHead& head() const { return head_; }
  /// What the user chose, else what a calibration of the device finds fastest for such batches; nothing if
  /// neither is there.
  std::optional<NetworkSchedule> chosen_plan(MapSize size, int64_t images) const;
  /// What of that runs, else the usual plans.
  NetworkSchedule plan_for(const NetworkGeometry& geometry, int64_t images) const;
  /// What tiles are chosen for: by the device's costs, where it has been calibrated.
  const CudaTarget& target() const { return target_; }

 private:
  CudaConv add_conv(const ConvSpec& spec, const FoldedConv& folded, Precision precision, bool merge_rows);
  CudaHead add_head(const ModelSpec& spec, const Weights& weights);
  CudaBlock add_block(const BlockSpec& block, const Weights& weights);

  std::optional<NetworkSchedule> plan_;
  std::optional<HardwareProfile> profile_;  ///< of the device
  decltype(DeviceCalibration::choose_schedule) choose_plan_;
  CudaTarget target_;
  CudaWeights weights_;
  CudaConv stem_;
  std::vector<CudaBlock> blocks_;
  CudaHead head_;
};

}  // namespace lasnet
