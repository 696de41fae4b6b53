#include "engine/hardware_facts.h"

#include "base/enum_names.h"
#include "base/escape.h"
#include "base/fail.h"

namespace lasnet {
namespace {

constexpr auto kKinds = enum_names<HardwareKind>(
    "hardware kind", {{HardwareKind::gpu, "gpu"}, {HardwareKind::cpu, "cpu"}, {HardwareKind::cuda, "cuda"}});
constexpr auto kWorkUnitNames =
    enum_names<WorkUnit>("work unit", {{WorkUnit::tile_step, "tile_step"},
                                       {WorkUnit::tile, "tile"},
                                       {WorkUnit::run, "run"},
                                       {WorkUnit::weight_l2, "weight_l2_kb"},
                                       {WorkUnit::weight_l3, "weight_l3_kb"},
                                       {WorkUnit::weight_memory, "weight_memory_kb"},
                                       {WorkUnit::weight_single, "weight_single_kb"},
                                       {WorkUnit::map_l2, "map_l2_kb"},
                                       {WorkUnit::map_l3, "map_l3_kb"},
                                       {WorkUnit::map_memory, "map_memory_kb"},
                                       {WorkUnit::masker_value, "masker_kvalue"},
                                       {WorkUnit::patch_sum, "patch_sum_kvalue"},
                                       {WorkUnit::masker_patch, "masker_patch_kchannel"},
                                       {WorkUnit::list_pixel, "list_kpixel"},
                                       {WorkUnit::list_row, "list_row"},
                                       {WorkUnit::channel_value, "channel_kvalue"},
                                       {WorkUnit::loop, "loop"},
                                       {WorkUnit::block, "block"}});
constexpr auto kCudaUnitNames =
    enum_names<CudaUnit>("CUDA unit", {{CudaUnit::kernel, "kernel"},
                                       {CudaUnit::wait, "wait"},
                                       {CudaUnit::branch, "branch"},
                                       {CudaUnit::list, "list"},
                                       {CudaUnit::list_look_back, "list_look_back"},
                                       {CudaUnit::list_pixel, "list_kpixel"},
                                       {CudaUnit::list_chunk, "list_kchunk"},
                                       {CudaUnit::stream, "stream_mb"},
                                       {CudaUnit::masker, "masker_mb"},
                                       {CudaUnit::masker_row, "masker_krow"},
                                       {CudaUnit::masker_step, "masker_step"},
                                       {CudaUnit::masker_product, "masker_kproduct"},
                                       {CudaUnit::mean_step, "mean_step"},
                                       {CudaUnit::excite_step, "excite_step"},
                                       {CudaUnit::head, "head_mb"},
                                       {CudaUnit::head_step, "head_step"}});

template <typename Hardware>
const Hardware& facts_of(const HardwareProfile& profile, HardwareKind kind) {
  if (profile.kind() != kind) {
    fail("hardware {}: it describes a {}; expected a {} profile", excerpt(profile.name),
         to_string(profile.kind()), to_string(kind));
  }
  return std::get<Hardware>(*profile.facts);
}

}  // namespace

std::string to_string(HardwareKind kind) { return kKinds.name(kind); }
std::string to_string(WorkUnit unit) { return kWorkUnitNames.name(unit); }
std::string to_string(CudaUnit unit) { return kCudaUnitNames.name(unit); }

HardwareKind HardwareProfile::kind() const {
  if (facts == nullptr) fail("hardware {}: the profile has no facts; load_hardware gives one", excerpt(name));
  return static_cast<HardwareKind>(facts->index());
}

int64_t HardwareProfile::usual_batch() const { return kind() == HardwareKind::gpu ? gpu_of(*this).batch : 1; }

std::string cpu_profile_name(const CpuHardware& kernels) {
  return kernels.int8_kernels.empty() ? "cpu-" + to_string(kernels.isa) : "cpu-int8-" + kernels.int8_kernels;
}

Precision HardwareProfile::usual_precision() const {
  return kind() == HardwareKind::cpu ? cpu_of(*this).precision() : Precision::fp32;
}

const GpuHardware& gpu_of(const HardwareProfile& profile) {
  return facts_of<GpuHardware>(profile, HardwareKind::gpu);
}
const CpuHardware& cpu_of(const HardwareProfile& profile) {
  return facts_of<CpuHardware>(profile, HardwareKind::cpu);
}
const CudaHardware& cuda_of(const HardwareProfile& profile) {
  return facts_of<CudaHardware>(profile, HardwareKind::cuda);
}

}  // namespace lasnet
