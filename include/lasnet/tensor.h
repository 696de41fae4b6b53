// Dense host arrays: a shape and contiguous row-major values. Plain values, copied and moved like vectors.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "lasnet/export.h"

namespace lasnet {

/// Dimensions, the slowest first.
using Shape = std::vector<int64_t>;

/// Product of the dimensions (1 for the empty shape). Throws Error if a dimension is negative, or if the
/// product does not fit int64.
LASNET_EXPORT int64_t element_count(std::span<const int64_t> shape);
/// The same of dimensions in braces.
inline int64_t element_count(std::initializer_list<int64_t> shape) {
  return element_count(std::span(shape.begin(), shape.size()));
}

/// "[1, 3, 224, 224]".
LASNET_EXPORT std::string to_string(std::span<const int64_t> shape);

/// At most eight dimensions, the slowest first, that take no memory elsewhere. A Shape converts to it.
class LASNET_EXPORT FewDimensions {
 public:
  static constexpr size_t kMost = 8;  ///< dimensions that fit

  FewDimensions() = default;
  /// Throws Error on more than eight dimensions.
  FewDimensions(std::span<const int64_t> dims);
  /// As above.
  FewDimensions(const Shape& dims) : FewDimensions(std::span(dims)) {}
  /// As above.
  FewDimensions(std::initializer_list<int64_t> dims) : FewDimensions(std::span(dims.begin(), dims.size())) {}

  size_t size() const { return size_; }                        ///< how many
  int64_t operator[](size_t i) const { return dims_[i]; }      ///< one of them
  const int64_t* begin() const { return dims_.data(); }        ///< the first
  const int64_t* end() const { return dims_.data() + size_; }  ///< behind the last

 private:
  std::array<int64_t, kMost> dims_ = {};
  size_t size_ = 0;
};

/// Contiguous row-major values of T that somebody else owns. Functions read it; an Array converts to it.
template <typename T>
struct ArrayView {
  FewDimensions shape;      ///< dimensions
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
