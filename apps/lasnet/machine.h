// The machine this runs on.
#pragma once

#include <string>
#include <vector>

namespace lasnet::cli {

/// Physical cores among the processors that this process may use, at least 1. Two hardware threads of a core
/// share its arithmetic units, so more threads than this do not compute faster.
int physical_cores();

/// Logical processors that this process may use.
int logical_processors();

/// "AMD EPYC", or "" where the system does not say.
std::string processor_name();

/// Of the features that kernels here can use, those this processor has, e.g. {"avx2", "fma"}.
std::vector<std::string> processor_features();

}  // namespace lasnet::cli
