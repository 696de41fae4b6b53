// The model of this library's CUDA kernels. It prices the program that the engine executes for a block
// (backends/cuda/program.h), operation by operation, in seconds of a profile that was measured on the device.
//   convolution = max(rounds * (steps * step + rest), steps * step_alone + rest_alone)   (tile_costs.h)
//   other kernels = what they do one after the other + the longest of what they do at the same time, of which
//     that which reads maps takes longer the less of them is in the second-level cache
// Times are expectations over the masks' outcomes, so that the steps of the tiles' rounds are averaged.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "backends/cuda/plan.h"
#include "engine/hardware_facts.h"
#include "lasnet/latency.h"
#include "mask/activity.h"

namespace lasnet {

struct CudaContext {
  CudaHardware hardware;
  int64_t batch = 1;
  Precision precision = Precision::fp32;

  CudaTarget target() const { return {precision, hardware.multiprocessors, hardware.tiles}; }
};

/// What a kernel that is no convolution does, in the profile's units.
struct CudaCounts {
  std::array<double, kCudaUnits> units = {};
  double footprint_mb = 0;  ///< of the maps that it reads and writes

  double& operator[](CudaUnit unit) { return units[static_cast<size_t>(unit)]; }
  double operator[](CudaUnit unit) const { return units[static_cast<size_t>(unit)]; }
};
/// Seconds of such a kernel.
double kernel_seconds(const CudaCounts& counts, const CudaHardware& hardware);

/// A kernel that reads and writes maps of `footprint_bytes` once. `waits`: where its threads look up, or work
/// out at length, what they read.
CudaCounts stream_counts(double bytes, double footprint_bytes, bool waits);
/// A masker of its own. `side`: of a patch, in input pixels.
CudaCounts masker_counts(double images, MapSize input, int pitch, int side, Precision precision);
/// `maskers` of them in one pass over `patches` of a map.
CudaCounts masker_group_counts(double images, double patches, int maskers, MapSize input, int pitch, int side,
                               Precision precision);
/// One launch that builds lists of the pixels of these maps.
CudaCounts list_counts(double images, const std::vector<MapSize>& maps);
/// Means over `pixels` of `images` images together.
CudaCounts mean_counts(double images, double pixels, int pitch, Precision precision, int multiprocessors);
/// The two layers of Squeeze-and-Excitation.
CudaCounts excite_counts(double images, int channels, int squeezed, int multiprocessors);
CudaCounts head_counts(double images, int classes, int pitch);

std::vector<OperatorLatency> cuda_static_block(const BlockSpec& block, const BlockGeometry& geometry,
                                               const CudaContext& context);

/// Under this plan, as feasible_cuda_schedule makes it. With MaskerSchedule::with_conv1 the first convolution
/// runs beside masker and lists, on a stream of its own, where it leaves room for them. `masker`: with
/// MaskerSchedule::incremental; it is taken to refresh as many patches as this block has active ones.
std::vector<OperatorLatency> cuda_dynamic_block(const BlockSpec& block, const BlockGeometry& geometry,
                                                const CudaContext& context, const BlockActivity& activity,
                                                const BlockSchedule& plan,
                                                const CudaMaskerShare& masker = {});

std::vector<OperatorLatency> cuda_fixed(const ModelSpec& spec, const NetworkGeometry& geometry,
                                        const CudaContext& context);

}  // namespace lasnet
