// One function per file that adds its part to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace lasnet::python {

void bind_model(nanobind::module_& module);
void bind_session(nanobind::module_& module);
void bind_images(nanobind::module_& module);
void bind_pictures(nanobind::module_& module);
void bind_latency(nanobind::module_& module);
void bind_operating(nanobind::module_& module);
void bind_quantize(nanobind::module_& module);

}  // namespace lasnet::python
