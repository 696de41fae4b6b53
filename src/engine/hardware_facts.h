// What the latency models know of a processor, as numbers. `lasnet calibrate` fits those of this library's
// kernels; a profile holds them (lasnet/hardware.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include "lasnet/engine.h"
#include "lasnet/hardware.h"

namespace lasnet {

/// The three-level model of the paper (section 3.3): engines with lanes, an on-chip cache, off-chip memory.
struct GpuHardware {
  int processing_engines = 1;           ///< streaming multiprocessors
  int fp32_lanes_per_engine = 1;        ///< multiply-adds per cycle
  int pipeline_depth = 4;               ///< independent values that a lane needs to be busy
  double frequency_hz = 0;              ///< of the lanes
  double bandwidth_bytes_per_s = 0;     ///< off-chip
  double onchip_bandwidth_factor = 4;   ///< bandwidth of the shared cache over the off-chip one
  int request_bytes = 32;               ///< least that a memory request moves
  double launch_s = 8e-6;               ///< per kernel
  double fp16_rate = 1;                 ///< multiply-adds of fp16 over those of fp32
  int64_t accumulators_per_engine = 1;  ///< partial sums that an engine can hold, which bounds tiles
  bool overlap = false;                 ///< compute and memory time overlap; else they add up
  int batch = 1;                        ///< images per run, unless asked otherwise
};

/// Units of work of this library's CPU kernels. `lasnet calibrate` fits the seconds that each unit takes. The
/// code that counts work (src/backends/cpu/prices.cc) defines what a unit is.
enum class WorkUnit {
  tile_step,      ///< one step along the reduction of a full register tile, in units of its multiply-adds
  tile,           ///< a register tile and reduction slice: loading and storing sums, choosing the kernel
  run,            ///< starting on a contiguous run of one input pixel
  weight_l2,      ///< kB of weights read from the second-level cache
  weight_l3,      ///< kB of weights read from the last-level cache
  weight_memory,  ///< kB of weights read from memory
  weight_single,  ///< kB of weights that meet a single tile of pixels: nothing hides their reading
  map_l2,         ///< kB of maps read or written that fit the second-level cache
  map_l3,         ///< kB of maps read or written that fit the last-level cache
  map_memory,     ///< kB of larger maps read or written
  masker_value,   ///< 1000 values pooled by a masker's own pass over the map
  patch_sum,      ///< 1000 values added to the sums of patches that are kept beside the map
  masker_patch,   ///< 1000 channels of a patch multiplied with the masker's weights
  list_pixel,     ///< 1000 pixels listed
  list_row,       ///< rows of patches and of the map that lists are built from
  channel_value,  ///< 1000 values pooled or scaled
  loop,           ///< a parallel loop: waking and joining threads
  block,          ///< a block: what does not depend on its size
};
/// How many there are.
inline constexpr int kWorkUnits = static_cast<int>(WorkUnit::block) + 1;
/// Its name: the key `seconds_per_<name>` of a profile.
std::string to_string(WorkUnit unit);

/// A CPU that this library's kernels run on.
struct CpuHardware {
  std::string processor;                            ///< as the system names it
  Isa isa = Isa::scalar;                            ///< that the costs were fitted for
  std::string int8_kernels = {};                    ///< of int8 profiles: the kernels' name, e.g. "avx_vnni"
  bool measured = true;                             ///< the costs, on that processor
  int cores = 1;                                    ///< physical ones
  double l1_kib = 32,                               ///< first-level cache, per core
      l2_kib = 1024;                                ///< second-level cache, per core
  double l3_kib = 32768;                            ///< last-level cache, shared
  std::array<double, kWorkUnits> seconds_per = {};  ///< by WorkUnit

  /// Of the kernels that the costs were fitted for: fp32 or int8.
  Precision precision() const { return int8_kernels.empty() ? Precision::fp32 : Precision::int8; }
  /// Seconds of one unit.
  double cost(WorkUnit unit) const { return seconds_per[static_cast<size_t>(unit)]; }
};

/// The name of a profile of these kernels: cpu-<isa>, or cpu-int8-<kernels>.
std::string cpu_profile_name(const CpuHardware& kernels);

/// Nanoseconds that a tile of a CUDA convolution takes. A step is 64 bytes of each pixel's reduction. The
/// first three hold when tiles fill a multiprocessor, the last two when a tile has it to itself.
struct CudaTileCost {
  double step_ns = 0,      ///< of a step
      rest_ns = 0,         ///< of everything but steps
      rest_adding_ns = 0,  ///< the same of a tile that adds to its output
      step_alone_ns = 0,   ///< of a step, alone
      rest_alone_ns = 0;   ///< of everything else, alone

  bool operator==(const CudaTileCost&) const = default;
};
/// The number of tile shapes: wide, tall, medium, small, split, fitted, hopper and hopper_wide, in this
/// order.
inline constexpr int kCudaTileShapes = 8;
/// Costs of all tile shapes, by precision. fp32 has medium, small and fitted tiles. Only `half` has the last
/// two shapes. Costs are zero on devices that do not run a shape.
struct CudaTileCosts {
  std::array<CudaTileCost, kCudaTileShapes> fp32 = {},  ///< on CUDA cores
      tf32 = {},                                        ///< on tensor cores
      half = {};                                        ///< fp16 and bf16, on tensor cores

  bool operator==(const CudaTileCosts&) const = default;
};

/// Units of work of the CUDA kernels that are no convolutions. Predicted time = the sum of the serial units +
/// the largest of the concurrent ones.
enum class CudaUnit {
  // Serial units.
  kernel,          ///< from the end of a kernel to the end of the next, if that one has nothing to do
  wait,            ///< for the first read, where threads work out or look up its place
  branch,          ///< running kernels beside others: starting and joining a stream
  list,            ///< a launch that builds lists
  list_look_back,  ///< a chunk's waiting for what those before it count, where there are several
  list_pixel,      ///< 1000 pixels of the fullest chunk
  list_chunk,      ///< 1000 chunks of pixels that lists are built from
  // Concurrent units.
  stream,          ///< MB moved by kernels that read and write maps once
  masker,          ///< MB read by a masker
  masker_row,      ///< 1000 rows of patches, read by a warp 16 bytes per lane at a time
  masker_step,     ///< such rows that a warp reads one after the other
  masker_product,  ///< 1000 x 32 channels of a patch's sums times a masker's weights, for eight maskers at
                   ///< least
  mean_step,       ///< times that a warp waits for pixels that it averages, eight of them at once
  excite_step,     ///< steps of 64 inputs of Squeeze-and-Excitation's layers that a warp reads in turn
  head,            ///< MB of weights and features that the classifier's warps load
  head_step,       ///< steps of 128 features that a warp of the classifier takes one after the other
};
/// How many there are.
inline constexpr int kCudaUnits = static_cast<int>(CudaUnit::head_step) + 1;
/// Its name: a key of `[cuda.seconds_per]`.
std::string to_string(CudaUnit unit);

/// A GPU that this library's CUDA kernels run on.
struct CudaHardware {
  std::string device;       ///< as CUDA names it
  int multiprocessors = 1;  ///< streaming multiprocessors
  double l2_mb = 25,        ///< size of a kernel's maps that are found in the second-level cache
      memory_factor =
          2;  ///< how much longer reading takes from memory, where maps of twice that size come from
  std::array<double, kCudaUnits> seconds_per = {};  ///< by CudaUnit
  CudaTileCosts tiles;                              ///< of convolutions

  /// Seconds of one unit.
  double cost(CudaUnit unit) const { return seconds_per[static_cast<size_t>(unit)]; }
};

/// The facts of a profile, in the order of HardwareKind.
struct HardwareFacts : std::variant<GpuHardware, CpuHardware, CudaHardware> {
  using variant::variant;
};

/// What a profile of this kind knows. Throws Error if it is of another kind.
const GpuHardware& gpu_of(const HardwareProfile& profile);
const CpuHardware& cpu_of(const HardwareProfile& profile);
const CudaHardware& cuda_of(const HardwareProfile& profile);

}  // namespace lasnet
