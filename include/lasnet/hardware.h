// Hardware as data: what the latency model needs to know of a processor. Profiles are TOML files with units
// in their keys; those under hardware/ are part of the library and are found by name.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lasnet/engine.h"
#include "lasnet/export.h"

namespace lasnet {

/// `gpu`: any GPU, by the paper's model; `cpu`, `cuda`: this library's kernels on a CPU, or on a GPU.
enum class HardwareKind { gpu, cpu, cuda };
/// Its name, as in files.
LASNET_EXPORT std::string to_string(HardwareKind kind);

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

/// Seconds per unit of work of this library's CPU kernels: the constants that `lasnet calibrate` fits. What a
/// unit is, is defined where the work is counted, by WorkUnit.
enum class WorkUnit {
  tile_step,      ///< one step along the reduction of a full register tile, in units of its multiply-adds
  tile,           ///< a register tile and reduction slice: loading and storing sums, choosing the kernel
  run,            ///< starting on a contiguous run of one input pixel
  weight_l2,      ///< kB of weights read from the second-level cache
  weight_l3,      ///< kB of weights read from the last-level cache
  weight_memory,  ///< kB of weights read from memory
  weight_single,  ///< kB of weights that meet a single tile of pixels, so that nothing hides their reading
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
inline constexpr int kWorkUnits = static_cast<int>(WorkUnit::block) + 1;
/// Its name: the key `seconds_per_<name>` of a profile.
LASNET_EXPORT std::string to_string(WorkUnit unit);

/// A CPU that this library's kernels run on.
struct CpuHardware {
  std::string processor;  ///< as the system names it
  Isa isa = Isa::scalar;  ///< that the costs were fitted for
  int cores = 1;
  double l1_kib = 32, l2_kib = 1024;  ///< per core
  double l3_kib = 32768;              ///< shared
  std::array<double, kWorkUnits> seconds_per = {};

  double cost(WorkUnit unit) const { return seconds_per[static_cast<size_t>(unit)]; }
};

/// Nanoseconds of a tile of a CUDA convolution: of a step of its reduction (64 bytes of each pixel), of
/// everything else, and of that if it adds to its output, when tiles fill a multiprocessor; of a step and the
/// rest when one has it to itself.
struct CudaTileCost {
  double step_ns = 0, rest_ns = 0, rest_adding_ns = 0, step_alone_ns = 0, rest_alone_ns = 0;

  bool operator==(const CudaTileCost&) const = default;
};
/// Of the shapes wide, tall, medium, small, split, fitted, hopper and hopper_wide, in this order.
inline constexpr int kCudaTileShapes = 8;
/// By precision; fp16 and bf16 share `half`. fp32 has medium, small and fitted tiles, only `half` the last
/// two; zero on devices that do not run them.
struct CudaTileCosts {
  std::array<CudaTileCost, kCudaTileShapes> fp32 = {}, tf32 = {}, half = {};

  bool operator==(const CudaTileCosts&) const = default;
};

/// Seconds per unit of work of the CUDA kernels that are no convolutions. A kernel takes all of what comes
/// one after the other, and the longest of what goes on at the same time.
enum class CudaUnit {
  // One after the other.
  kernel,          ///< from the end of a kernel to the end of the next, if that has nothing to do
  wait,            ///< for the first read, where threads work out or look up its place
  branch,          ///< running kernels beside others: starting and joining a stream
  list,            ///< a launch that builds lists
  list_look_back,  ///< a chunk's waiting for what those before it count, where there are several
  list_pixel,      ///< 1000 pixels of a chunk: of the fullest one
  list_chunk,      ///< 1000 chunks of pixels that lists are built from
  // At the same time.
  stream,          ///< MB moved by kernels that read and write maps once
  masker,          ///< MB read by a masker
  masker_row,      ///< 1000 rows of patches, read by a warp 16 bytes per lane at a time
  masker_step,     ///< such rows that a warp reads one after the other
  masker_product,  ///< 1000 x 32 channels of a patch's sums, times the weights of a masker: of eight at least
  mean_step,       ///< times that a warp waits for pixels that it averages, eight of them at once
  excite_step,  ///< inputs, 64 at a time, of Squeeze-and-Excitation's layers that a warp reads one after the
                ///< other
  head,         ///< MB of weights and features that the classifier's warps load
  head_step,    ///< steps of 128 features that a warp of the classifier takes one after the other
};
inline constexpr int kCudaUnits = static_cast<int>(CudaUnit::head_step) + 1;
/// Its name: a key of `[cuda.seconds_per]`.
LASNET_EXPORT std::string to_string(CudaUnit unit);

/// A GPU that this library's CUDA kernels run on.
struct CudaHardware {
  std::string device;  ///< as CUDA names it
  int multiprocessors = 1;
  /// Maps of a kernel that are as large as this are found in the second-level cache; those of twice the size
  /// come from memory, and reading them takes `memory_factor` times as long; in between, a part of them.
  double l2_mb = 25, memory_factor = 2;
  std::array<double, kCudaUnits> seconds_per = {};
  CudaTileCosts tiles;

  double cost(CudaUnit unit) const { return seconds_per[static_cast<size_t>(unit)]; }
};

struct HardwareProfile {
  std::string name;
  std::string description;
  std::string source;  ///< where the numbers come from: published, data sheet or measured
  HardwareKind kind = HardwareKind::gpu;
  GpuHardware gpu;         ///< if kind is gpu
  CpuHardware cpu;         ///< if kind is cpu
  CudaHardware cuda = {};  ///< if kind is cuda
};

/// Names of the profiles that are part of the library.
LASNET_EXPORT std::vector<std::string> hardware_names();

/// The profile of this name, or else read from the file of this path. Throws Error if there is neither,
/// suggesting the nearest name; and as parse_hardware does.
LASNET_EXPORT HardwareProfile load_hardware(const std::string& name_or_path);

/// Reads a profile. Throws Error naming `origin`, line and key of anything missing, unknown (suggesting the
/// nearest key), of a wrong type or out of range.
LASNET_EXPORT HardwareProfile parse_hardware(std::string_view toml, const std::string& origin);

/// The profile as a TOML file that parse_hardware reads back.
LASNET_EXPORT std::string hardware_to_toml(const HardwareProfile& profile);

/// What is different about this machine, one sentence each; empty if the profile was made on its like.
/// Profiles of GPUs may describe other machines and fit always.
LASNET_EXPORT std::vector<std::string> hardware_mismatches(const HardwareProfile& profile,
                                                           const CpuHardware& machine);

}  // namespace lasnet
