// Dense host arrays: a shape and contiguous row-major values. Plain values, copied and moved like vectors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lasnet/export.h"

namespace lasnet {

/// Dimensions, the slowest first.
using Shape = std::vector<int64_t>;

/// Product of the dimensions (1 for the empty shape). Throws Error if a dimension is negative, or if the
/// product does not fit int64.
LASNET_EXPORT int64_t element_count(const Shape& shape);

/// "[1, 3, 224, 224]".
LASNET_EXPORT std::string to_string(const Shape& shape);

/// Contiguous row-major values of T that somebody else owns. Functions read it; an Array converts to it.
template <typename T>
struct ArrayView {
  Shape shape;              ///< dimensions
  std::span<const T> data;  ///< element_count(shape) values

  /// Values in it.
  int64_t size() const { return static_cast<int64_t>(data.size()); }
};

/// A contiguous row-major array of T with value semantics.
template <typename T>
struct Array {
  Shape shape;          ///< dimensions
  std::vector<T> data;  ///< element_count(shape) values

  Array() = default;
  /// An array of `dims` filled with `value`.
  explicit Array(Shape dims, T value = T{})
      : shape(std::move(dims)), data(static_cast<size_t>(element_count(shape)), value) {}

  /// Values in it.
  int64_t size() const { return static_cast<int64_t>(data.size()); }
  /// Refers to these values.
  operator ArrayView<T>() const { return {shape, data}; }
  bool operator==(const Array&) const = default;
};

/// float32 values.
using Tensor = Array<float>;
/// float32 values of the caller.
using TensorView = ArrayView<float>;
/// uint8 values; masks are 0 or 1.
using ByteTensor = Array<uint8_t>;

}  // namespace lasnet
