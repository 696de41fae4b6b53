// Any bytes either parse as an array whose values are no more than its bytes or throw Error.
#include <cstdlib>

#include "formats/npy.h"
#include "lasnet/error.h"

namespace {

template <typename Parse>
void check(Parse parse, const uint8_t* data, size_t size) {
  try {
    const auto array = parse(data, size, "fuzz");
    if (lasnet::element_count(array.shape) != array.size() || array.data.size() > size) std::abort();
  } catch (const lasnet::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check(lasnet::parse_npy_f32, data, size);
  check(lasnet::parse_npy_u8, data, size);
  return 0;
}
