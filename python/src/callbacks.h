// Functions of Python that long work calls, from any thread.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "lasnet/tensor.h"

namespace lasnet::python {

/// Images by index, each [1, 3, H, W]. `read`: a function of a list of indices that returns float32
/// [N, 3, H, W].
std::vector<Tensor> call_read(const nanobind::callable& read, const std::vector<int64_t>& indices);

/// Throws Python's exception if a signal (Ctrl-C) has one waiting, or if `progress`, a function of a share,
/// raises.
void report_progress(const nanobind::callable& progress, double share);

}  // namespace lasnet::python
