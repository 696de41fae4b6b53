// Any bytes either decode as an image whose buffer fits its size or throw Error.
#include <cstdlib>

#include "lasnet/error.h"
#include "lasnet/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const lasnet::Image image = lasnet::decode_image(data, size, "fuzz");
    if (image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3) std::abort();
  } catch (const lasnet::Error&) {
  }
  return 0;
}
