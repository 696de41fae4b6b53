// Which int8 kernels this build holds and this processor can run.
#include <algorithm>

#include "backends/cpu/int8/kernels.h"
#include "base/processors.h"

namespace lasnet {
namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

std::vector<const Int8Kernels*> available_int8_kernels() {
  std::vector<const Int8Kernels*> tables = {scalar_int8_kernels()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_avx2()) tables.push_back(avx2_int8_kernels());
  if (has_avx2() && has_avx_vnni()) tables.push_back(avx_vnni_int8_kernels());
  if (has_avx512_vnni()) tables.push_back(avx512_vnni_int8_kernels());
#elif defined(__aarch64__)
  tables.push_back(neon_int8_kernels());
  if (has_dot_products()) tables.push_back(neon_dotprod_int8_kernels());
#endif
  return tables;
}

std::vector<std::string> available_int8_kernel_names() {
  std::vector<std::string> names;
  for (const Int8Kernels* kernels : available_int8_kernels()) names.emplace_back(kernels->name);
  return names;
}

const Int8Kernels& int8_kernels(Isa isa) {
  cpu_kernels(isa);  // throws Error where the processor lacks the set
  const std::vector<const Int8Kernels*> tables = available_int8_kernels();
  const auto best = std::find_if(tables.rbegin(), tables.rend(),
                                 [isa](const Int8Kernels* table) { return table->isa <= isa; });
  return **best;
}

}  // namespace lasnet
