// The equations of the paper's published latency simulator (github.com/LeapLabTHU/LAUDNet, DyNetSimulator;
// LASNet section 3.3), faults included, to reproduce what the paper reports. In this model
//  * patches and images of a dynamic operator are not dealt to the engines: only its tiles of one patch are;
//  * conv1 is charged at the activation rate, not at the dilated one;
//  * a tile's halo is (tile + k - 1) * s on a side instead of (tile - 1) * s + k;
//  * memory request efficiency of dynamic convolutions is 1, and runs are those of NCHW maps;
//  * the number of active patches is the mean's ceiling: ceil(r * ceil(H/S) * ceil(W/S));
//  * a projection is charged only where the block has a stride: that of layer1.0 costs nothing;
//  * layer skipping has an equation of its own: the masker is conv1 without arithmetic and outputs, and the
//    static block costs r times what it costs for the whole batch, launches included.
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

/// The dynamic block at activation rate `rate`, of patches: masker + conv1 fused or unfused, as `masker`
/// says, conv2 through indices, conv3, scatter-add.
std::vector<OperatorLatency> paper_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                 const GpuHardware& gpu, int64_t batch, double rate,
                                                 MaskerSchedule masker);

/// The dynamic block of which an image computes everything, with probability `rate`, or nothing.
std::vector<OperatorLatency> paper_skipped_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                 const GpuHardware& gpu, int64_t batch, double rate);

/// Stem and head, as dense convolutions and pooling.
std::vector<OperatorLatency> paper_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                         const GpuHardware& gpu, int64_t batch);

}  // namespace lasnet
