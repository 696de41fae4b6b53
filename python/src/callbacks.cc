#include "callbacks.h"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>

#include "arrays.h"

namespace lasnet::python {
namespace {

Tensor image_of(const TensorView& batch, size_t index) {
  Tensor image({1, batch.shape[1], batch.shape[2], batch.shape[3]});
  const auto values = static_cast<size_t>(image.size());
  std::copy_n(batch.data.begin() + static_cast<std::ptrdiff_t>(index * values), values, image.data.begin());
  return image;
}

}  // namespace

std::vector<Tensor> call_read(const nb::callable& read, const std::vector<int64_t>& indices) {
  const nb::gil_scoped_acquire gil;
  const ContiguousArray<float> batch(
      to_array(read(indices), nb::dtype<float>(), "images", "float32 [N, 3, H, W]"));
  std::vector<Tensor> images;
  for (size_t i = 0; i < indices.size(); ++i) images.push_back(image_of(batch.view(), i));
  return images;
}

void report_progress(const nb::callable& progress, double share) {
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  progress(share);
}

}  // namespace lasnet::python
