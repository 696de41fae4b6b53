// The standard model of GPUs (paper section 3.3, corrected): engines with lanes, an on-chip cache, off-chip
// memory, NHWC maps. An operator's output is cut into tiles (channels x height x width x patches) that are
// dealt to the engines; for one tiling
//   compute  = ceil(tiles / engines) * MACs of a tile / (lanes * frequency) / utilisation of the lanes
//   off-chip = (weights + inputs + outputs, once each) / B
//   on-chip  = (what all tiles load and store, halo included, in whole requests) / B_onchip
// and the tiling with the least expected time over the masks' distribution wins. Departures from the
// published simulator (paper_model.h): patches and images are dealt to the engines, conv1 runs on the dilated
// mask, the halo is (tile - 1) * s + k, requests are charged, and activity is a distribution.
#pragma once

#include <vector>

#include "engine/hardware_facts.h"
#include "lasnet/latency.h"
#include "mask/activity.h"

namespace lasnet {

struct GpuContext {
  GpuHardware hardware;
  int64_t batch = 1;
  Precision precision = Precision::fp32;  ///< fp32 or fp16
};

std::vector<OperatorLatency> gpu_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                              const GpuContext& context);

struct ScheduledOperators {
  BlockSchedule schedule;
  std::vector<OperatorLatency> operators;
};

/// The fastest schedule that the constraint allows; each pair of operators is chosen by itself.
ScheduledOperators gpu_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                     const GpuContext& context, const BlockActivity& activity,
                                     const ScheduleConstraint& constraint);

std::vector<OperatorLatency> gpu_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                       const GpuContext& context);

}  // namespace lasnet
