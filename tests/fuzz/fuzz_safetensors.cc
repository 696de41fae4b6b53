// Any bytes either parse as a safetensors file, whose tensors are no more than its bytes, or throw Error.
#include <cstdlib>

#include "formats/safetensors.h"
#include "lasnet/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    size_t values = 0;
    for (const auto& [name, tensor] : lasnet::parse_safetensors(data, size, "fuzz").tensors) {
      if (lasnet::element_count(tensor.shape) != tensor.size()) std::abort();
      values += tensor.data.size();
    }
    if (values * 2 > size) std::abort();  // a value takes at least 2 bytes
  } catch (const lasnet::Error&) {
  }
  return 0;
}
