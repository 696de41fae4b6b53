// Which kernels this build holds and this processor can run.
#include <algorithm>

#include "backends/cpu/kernels/kernels.h"
#include "base/enum_names.h"
#include "base/fail.h"

namespace lasnet {
namespace {

constexpr auto kIsas = enum_names<Isa>(
    "instruction set",
    {{Isa::scalar, "scalar"}, {Isa::avx2, "avx2"}, {Isa::avx512, "avx512"}, {Isa::neon, "neon"}});

bool processor_supports(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == Isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx512) return __builtin_cpu_supports("avx512f");
#elif defined(__aarch64__)
  if (isa == Isa::neon) return true;  // a part of the architecture
#endif
  return isa == Isa::scalar;
}

const CpuKernels* compiled_kernels(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return scalar_kernels();
    case Isa::avx2:
      return avx2_kernels();
    case Isa::avx512:
      return avx512_kernels();
    case Isa::neon:
      return neon_kernels();
  }
  return nullptr;
}

}  // namespace

std::string to_string(Isa isa) { return kIsas.name(isa); }
Isa parse_isa(const std::string& text) { return kIsas.parse(text); }

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const auto& [isa, name] : kIsas.entries) {
    if (compiled_kernels(isa) != nullptr && processor_supports(isa)) isas.push_back(isa);
  }
  return isas;
}

const CpuKernels& cpu_kernels(Isa isa) {
  std::vector<Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), isa) == isas.end()) {
    std::vector<std::string> names;
    for (Isa available : isas) names.push_back(to_string(available));
    fail("instruction set {} cannot run here: {}; available: {}", to_string(isa),
         compiled_kernels(isa) == nullptr ? "this build has no kernels for it" : "the processor lacks it",
         fmt::join(names, ", "));
  }
  return *compiled_kernels(isa);
}

}  // namespace lasnet
