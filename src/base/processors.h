// How many processors this process may use, and what they have that compilers cannot ask for.
#pragma once

#include <optional>
#include <vector>

namespace lasnet {

/// Their numbers, by the process's affinity; empty if the system does not say.
std::vector<int> allowed_processors();

/// Physical cores among the processors that this process may use, at least 1. Two hardware threads of a core
/// share its arithmetic units, so more threads than this do not compute faster.
int physical_cores();

/// How many threads can run at a time: the allowed processors, and no more than a container's quota of time
/// gives, rounded up. At least 1.
int usable_processors();

/// AVX-VNNI, which Clang 16 does not know by name. Where there is AVX2, the system lets programs use it.
bool has_avx_vnni();

/// AArch64's dot products of bytes (FEAT_DotProd).
bool has_dot_products();

/// `threads`, and no more than `quota` gives, rounded up. At least 1.
int within_quota(int threads, std::optional<double> quota);

}  // namespace lasnet
