// Arrays of Python, read where they lie; and arrays of C++, given to Python without a copy.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lasnet/tensor.h"

namespace lasnet::python {

namespace nb = nanobind;

/// An array that Python owns, kept alive.
using AnyArray = nb::ndarray<nb::ro>;

/// The name that NumPy has for it, e.g. "float32".
std::string dtype_name(nb::dlpack::dtype dtype);

/// "[1, 3, 224, 224]".
std::string shape_text(const AnyArray& array);

/// Reads anything that has __dlpack__ or Python's buffers. Throws TypeError naming `argument` and what is
/// `expected` of anything else, of arrays on another device, and of other types than `dtype`.
AnyArray to_array(nb::handle object, nb::dlpack::dtype dtype, const std::string& argument,
                  const std::string& expected);

/// Whether rows from dimension `first` on follow each other without gaps.
bool is_contiguous(const AnyArray& array, size_t first = 0);

/// Its values one after the other, row-major. `to` has room for all of them.
void copy_values(const AnyArray& array, void* to);

/// Contiguous values of an array that Python owns: where they lie or, if they have gaps, another order or an
/// odd address there, a copy.
template <typename T>
class ContiguousArray {
 public:
  explicit ContiguousArray(AnyArray array) : array_(std::move(array)) {
    for (size_t i = 0; i < array_.ndim(); ++i) shape_.push_back(static_cast<int64_t>(array_.shape(i)));
    const int64_t size = element_count(shape_);
    data_ = static_cast<const T*>(array_.data());
    const bool aligned = reinterpret_cast<std::uintptr_t>(data_) % alignof(T) == 0;
    if (is_contiguous(array_) && aligned) return;
    copy_.reset(new T[static_cast<size_t>(size)]);
    copy_values(array_, copy_.get());
    data_ = copy_.get();
  }

  bool is_copy() const { return copy_ != nullptr; }
  const T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  ArrayView<T> view() const { return {shape_, {data_, static_cast<size_t>(element_count(shape_))}}; }

 private:
  AnyArray array_;
  Shape shape_;
  const T* data_ = nullptr;
  std::unique_ptr<T[]> copy_;
};

/// A NumPy array of memory that `owner` keeps.
template <typename T>
nb::object numpy_view(T* data, const Shape& shape, nb::handle owner) {
  const std::vector<size_t> sizes(shape.begin(), shape.end());
  return nb::cast(nb::ndarray<nb::numpy, T>(data, sizes.size(), sizes.data(), owner));
}

/// A NumPy array that owns `values`.
template <typename T>
nb::object to_numpy(std::vector<T> values, const Shape& shape) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  const nb::capsule owner(owned.release(),
                          [](void* vector) noexcept { delete static_cast<std::vector<T>*>(vector); });
  return numpy_view(data, shape, owner);
}

}  // namespace lasnet::python
