// lasnet._core: the C++ library for the Python package, whose modules check arguments, document and name
// things. Paths arrive as os.fsencode gives them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "lasnet/engine.h"
#include "lasnet/error.h"
#include "lasnet/version.h"

namespace lasnet::python {
namespace {

namespace nb = nanobind;

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const Isa isa : available_isas()) names.push_back(to_string(isa));
  return names;
}

std::vector<std::string> cuda_device_names() {
  std::vector<std::string> names;
  for (const CudaDevice& device : cuda_devices()) names.push_back(device.name);
  return names;
}

/// lasnet::Error as an exception of the module. Messages may name files whose names are no UTF-8.
void bind_error(nb::module_& module) {
  const nb::object error = nb::steal(PyErr_NewExceptionWithDoc(
      "lasnet.Error",
      "Bad input, or a failed system call. The message names the argument, file or operator, what was\n"
      "expected, what was got, and what to do about it.",
      PyExc_RuntimeError, nullptr));
  module.attr("Error") = error;
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* type) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& caught) {
          const std::string message = caught.what();
          const nb::object text = nb::steal(
              PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "replace"));
          PyErr_SetObject(static_cast<PyObject*>(type), text.ptr());
        }
      },
      error.ptr());
}

}  // namespace
}  // namespace lasnet::python

NB_MODULE(_core, module) {
  using namespace lasnet::python;
  // Objects that live until the interpreter ends, e.g. in a global variable, are no fault of their owner.
  nanobind::set_leak_warnings(false);
  bind_error(module);
  bind_model(module);
  bind_session(module);
  bind_images(module);
  bind_pictures(module);
  bind_latency(module);
  bind_operating(module);
  bind_quantize(module);
  module.def("version", &lasnet::version);
  module.def("isas", &isa_names);
  module.def("cuda_devices", &cuda_device_names);
}
