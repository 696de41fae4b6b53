// Any bytes either decode as an image whose buffer fits its size or throw Error.
#include <cstdlib>

#include "image/codec.h"
#include "lasnet/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string origin = "fuzz";
  // Few pixels, so that time goes into new inputs and not into large pictures.
  const lasnet::DecodeOptions options{.max_pixels = 1 << 18};
  try {
    const lasnet::Image image = lasnet::decode({data, size, origin, options});
    if (image.empty() || image.rgb.size() != static_cast<size_t>(image.width) * image.height * 3)
      std::abort();
  } catch (const lasnet::Error&) {
  }
  return 0;
}
