// Any bytes either parse as a safetensors file or throw Error.
#include "lasnet/error.h"
#include "model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lasnet::parse_safetensors(data, size, "fuzz");
  } catch (const lasnet::Error&) {
  }
  return 0;
}
