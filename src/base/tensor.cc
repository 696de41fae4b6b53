#include "lasnet/tensor.h"

#include <algorithm>

#include "base/fail.h"

namespace lasnet {

int64_t element_count(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0) fail("shape {}: dimensions must not be negative", to_string(shape));
    if (__builtin_mul_overflow(count, dim, &count)) {
      fail("shape {}: the number of elements does not fit 64 bits", to_string(shape));
    }
  }
  return count;
}

std::string to_string(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

FewDimensions::FewDimensions(std::span<const int64_t> dims) : size_(dims.size()) {
  if (dims.size() > kMost)
    fail("shape {}: {} dimensions; expected at most {}", to_string(dims), size_, kMost);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

}  // namespace lasnet
