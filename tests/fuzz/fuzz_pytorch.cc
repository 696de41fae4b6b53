// Any bytes either are a checkpoint, whose tensors can be read or are refused one by one, or throw Error.
#include <cstdlib>

#include "formats/pytorch/pytorch_file.h"
#include "lasnet/error.h"

namespace {

constexpr int64_t kMaxElements = 1 << 16;  // a view may repeat its storage; a network bounds its size

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lasnet::PyTorchFile file(lasnet::ByteSource::memory({data, size}, "fuzz"));
    for (const auto& [name, stored] : file.tensors()) {
      if (lasnet::element_count(stored.shape) > kMaxElements) continue;
      try {
        if (file.read(name).shape != stored.shape) std::abort();
      } catch (const lasnet::Error&) {
      }
    }
  } catch (const lasnet::Error&) {
  }
  return 0;
}
