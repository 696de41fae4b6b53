// Any text either is the metadata of a model, which then survives being written and read again, or throws
// Error.
#include <cstdlib>

#include "formats/metadata.h"
#include "lasnet/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  lasnet::Model model;
  try {
    model = lasnet::parse_metadata(text, "fuzz");
  } catch (const lasnet::Error&) {
    return 0;
  }
  const lasnet::Model again = lasnet::parse_metadata(lasnet::write_metadata(model), "written");
  bool same = again.spec == model.spec && again.class_names == model.class_names &&
              again.preprocessing == model.preprocessing && again.operating_points == model.operating_points;
  if (!same) std::abort();
  return 0;
}
