// The machine this runs on.
#pragma once

#include <string>
#include <vector>

#include "lasnet/hardware.h"

namespace lasnet::cli {

/// Physical cores among the processors that this process may use, at least 1. Two hardware threads of a core
/// share its arithmetic units, so more threads than this do not compute faster.
int physical_cores();

/// Logical processors that this process may use.
int logical_processors();

/// Threads of a computation if nobody says how many: one per physical core, and no more than a container's
/// quota of processor time keeps busy, rounded up.
int default_threads();

/// "AMD EPYC", or "" where the system does not say.
std::string processor_name();

/// Of the features that kernels here can use, those this processor has, e.g. {"avx2", "fma"}.
std::vector<std::string> processor_features();

/// Processor, cores and caches of this machine, for kernels of this instruction set. Where the system does
/// not say how large a cache is, the struct's default stays. Costs are those of `costs_of`.
CpuHardware this_machine(Isa isa, const CpuHardware& costs_of = {});

}  // namespace lasnet::cli
