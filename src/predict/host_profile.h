// The profile of the machine at hand: calibrated and cached, or shipped.
#pragma once

#include <string>
#include <vector>

#include "engine/hardware_facts.h"

namespace lasnet {

/// This machine's kernels of an instruction set in fp32 or int8, without costs.
CpuHardware host_kernels(Isa isa, Precision precision);

/// Where `lasnet calibrate` leaves the profile of this machine and the engine finds it:
/// $XDG_CACHE_HOME/lasnet/<name>.toml, or under ~/.cache. "" if neither variable is set.
std::string cached_profile_path(Isa isa, Precision precision = Precision::fp32);

/// What is known of the machine at hand.
struct HostProfile {
  HardwareProfile profile;
  std::string cached;   ///< the file that it was read from; "" if it is the shipped one
  std::string problem;  ///< why a cached file was passed over, and what to do; "" if none was
};

/// The cached profile if there is a readable one for these kernels, else the shipped one: a cache may be
/// stale or damaged, and what is shipped serves as well. Throws Error where none is shipped.
HostProfile host_profile(Isa isa, Precision precision = Precision::fp32);

/// Where `lasnet calibrate --device cuda` leaves the profile of this machine's GPU: cuda.toml in the same
/// folder.
std::string cached_cuda_profile_path();

/// The cached profile of the CUDA kernels if there is a readable one, else the shipped cuda-h100.
HostProfile host_cuda_profile();

/// What is different about this machine, one sentence each; empty if the profile was made on its like.
/// Profiles of GPUs may describe other machines and fit always.
std::vector<std::string> hardware_mismatches(const HardwareProfile& profile, const CpuHardware& machine);

}  // namespace lasnet
