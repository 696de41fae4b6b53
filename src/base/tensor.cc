#include "lasnet/tensor.h"

#include "base/fail.h"

namespace lasnet {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0) fail("shape {}: dimensions must not be negative", to_string(shape));
    if (__builtin_mul_overflow(count, dim, &count)) {
      fail("shape {}: the number of elements does not fit 64 bits", to_string(shape));
    }
  }
  return count;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace lasnet
