// The machine this runs on.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "base/processors.h"
#include "engine/hardware_facts.h"

namespace lasnet::cli {

/// Logical processors that this process may use.
int logical_processors();

/// "AMD EPYC", or "" where the system does not say.
std::string processor_name();
/// The same of a text like /proc/cpuinfo. AArch64 processors have numbers in place of a name.
std::string processor_name_in(std::istream& cpuinfo);

/// Of the features that kernels here can use, those this processor has, e.g. {"avx2", "fma"}.
std::vector<std::string> processor_features();

/// Processor, cores and caches of this machine, for kernels of this instruction set. Where the system does
/// not say how large a cache is, the struct's default stays. Costs are those of `costs_of`.
CpuHardware this_machine(Isa isa, Precision precision = Precision::fp32, const CpuHardware& costs_of = {});

}  // namespace lasnet::cli
