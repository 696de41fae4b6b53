// The equations of the paper's published latency simulator (github.com/LeapLabTHU/LAUDNet, DyNetSimulator;
// LASNet section 3.3), faults included, to reproduce what the paper reports. In this model
//  * patches and images of a dynamic operator are not dealt to the engines: only its tiles of one patch are;
//  * conv1 is charged at the activation rate, not at the dilated one;
//  * a tile's halo is (tile + k - 1) * s on a side instead of (tile - 1) * s + k;
//  * memory request efficiency of dynamic convolutions is 1, and runs are those of NCHW maps;
//  * the number of active patches is the mean's ceiling: ceil(r * ceil(H/S) * ceil(W/S)).
// The standard model departs from each of these (gpu_model.h).
#pragma once

#include <vector>

#include "engine/hardware_facts.h"
#include "lasnet/geometry.h"
#include "lasnet/latency.h"

namespace lasnet {

/// An identity or projection block of the static network: convolutions, Squeeze-and-Excitation, addition.
std::vector<OperatorLatency> paper_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                const GpuHardware& gpu, int64_t batch);

/// The dynamic block at activation rate `rate`: masker + conv1 as the cheaper of fused and unfused (`masker`
/// fixes one), conv2 through indices, conv3, scatter-add.
std::vector<OperatorLatency> paper_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                 const GpuHardware& gpu, int64_t batch, double rate,
                                                 MaskerSchedule masker);

/// Stem and head, as dense convolutions and pooling.
std::vector<OperatorLatency> paper_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                         const GpuHardware& gpu, int64_t batch);

}  // namespace lasnet
