#include "arrays.h"

#include <nanobind/stl/string.h>

#include <cstring>

namespace lasnet::python {
namespace {

/// One dimension after the other; `to` moves on.
void copy_dimension(const AnyArray& array, size_t dimension, const char* from, char*& to) {
  const size_t item = array.itemsize();
  const auto stride = array.stride(dimension) * static_cast<int64_t>(item);
  const auto count = static_cast<int64_t>(array.shape(dimension));
  if (dimension + 1 < array.ndim()) {
    for (int64_t i = 0; i < count; ++i) copy_dimension(array, dimension + 1, from + i * stride, to);
    return;
  }
  for (int64_t i = 0; i < count; ++i, to += item) std::memcpy(to, from + i * stride, item);
}

/// Why an object that nanobind cannot read is none.
std::string describe_object(nb::handle object) {
  const std::string type = nb::cast<std::string>(nb::str(nb::type_name(object.type())));
  const nb::object dtype = nb::getattr(object, "dtype", nb::none());
  if (dtype.is_none()) return "an object of type " + type;
  return "a " + type + " of dtype " + nb::cast<std::string>(nb::steal<nb::str>(PyObject_Str(dtype.ptr()))) +
         ", which can be read neither through DLPack nor as a buffer";
}

}  // namespace

std::string dtype_name(nb::dlpack::dtype dtype) {
  using Code = nb::dlpack::dtype_code;
  const auto named = [&]() -> std::string {
    switch (static_cast<Code>(dtype.code)) {
      case Code::Int:
        return "int";
      case Code::UInt:
        return "uint";
      case Code::Float:
        return "float";
      case Code::Bfloat:
        return "bfloat";
      case Code::Complex:
        return "complex";
      case Code::Bool:
        return "bool";
      default:
        return "a type of ";
    }
  };
  return named() + (static_cast<Code>(dtype.code) == Code::Bool ? "" : std::to_string(dtype.bits));
}

std::string shape_text(const AnyArray& array) {
  return to_string(Shape(array.shape_ptr(), array.shape_ptr() + array.ndim()));
}

AnyArray to_array(nb::handle object, nb::dlpack::dtype dtype, const std::string& argument,
                  const std::string& expected) {
  const auto fail = [&](const std::string& got) {
    throw nb::type_error((argument + ": expected " + expected + ", got " + got).c_str());
  };
  AnyArray array;
  if (!nb::try_cast(object, array)) {
    PyErr_Clear();  // the array's own words for it
    fail(describe_object(object));
  }
  if (array.device_type() != nb::device::cpu::value)
    fail("an array on another device; move it to the CPU first");
  if (array.dtype() != dtype) {
    fail(dtype_name(array.dtype()) + " " + shape_text(array) + "; convert it to " + dtype_name(dtype));
  }
  return array;
}

bool is_contiguous(const AnyArray& array, size_t first) {
  int64_t expected = 1;
  for (size_t i = array.ndim(); i-- > first;) {
    if (array.shape(i) == 0) return true;
    if (array.shape(i) != 1 && array.stride(i) != expected) return false;
    expected *= static_cast<int64_t>(array.shape(i));
  }
  return true;
}

void copy_values(const AnyArray& array, void* to) {
  auto* bytes = static_cast<char*>(to);
  const auto* from = static_cast<const char*>(array.data());
  if (array.ndim() == 0) {
    std::memcpy(bytes, from, array.itemsize());
  } else {
    copy_dimension(array, 0, from, bytes);
  }
}

}  // namespace lasnet::python
