// Any pickle either becomes plain data, whose tensors can be gathered from storages as large as it says, or
// throws Error. Without the archive around it, whose CRC-32 would stop nearly every mutation.
#include <cstdlib>
#include <vector>

#include "formats/pytorch/pickle_globals.h"
#include "formats/pytorch/pytorch_file.h"
#include "formats/pytorch/state_dict.h"
#include "formats/pytorch/unpickler.h"
#include "lasnet/error.h"

namespace {

constexpr uint64_t kMaxBytes = 1 << 18;
constexpr int64_t kMaxElements = 1 << 16;

void check(const lasnet::TensorRef& tensor) {
  uint64_t bytes = lasnet::view_bytes(tensor);
  if (lasnet::size_of(tensor.type) == 0 || bytes == 0 || bytes > kMaxBytes) return;
  uint64_t begin = static_cast<uint64_t>(tensor.offset * lasnet::size_of(tensor.type));
  if (begin + bytes > static_cast<uint64_t>(tensor.storage_bytes)) std::abort();
  bool is_float = tensor.type <= lasnet::StorageType::f64;
  if (!is_float || lasnet::element_count(tensor.shape) > kMaxElements) return;
  const std::vector<uint8_t> storage(bytes);
  if (lasnet::gather(tensor, storage).shape != tensor.shape) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const lasnet::PickleData values = lasnet::unpickle({data, size}, "fuzz");
    for (const lasnet::TensorRef& tensor : values.tensors) check(tensor);
    lasnet::find_state_dict(values, "fuzz");
  } catch (const lasnet::Error&) {
  }
  return 0;
}
