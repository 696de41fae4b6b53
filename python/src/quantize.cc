// Post-training quantization.
#include "lasnet/quantize.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "bindings.h"
#include "callbacks.h"

namespace lasnet::python {
namespace {

CalibrationImages calibration_images(const nb::callable& read, int64_t count) {
  return {.count = count,
          .read = [&read](int64_t index) { return std::move(call_read(read, {index}).front()); }};
}

QuantizationOptions to_options(const std::string& method, int threads, const nb::callable& progress) {
  return {.method = parse_quantization_method(method),
          .session = {.threads = threads},
          .progress = [&progress](double share) { report_progress(progress, share); }};
}

/// A quantized copy of the model, and warnings. `read` as of call_read; `progress`: a function of a share.
std::pair<std::shared_ptr<ModelHandle>, std::vector<std::string>> quantized(
    const ModelHandle& handle, const nb::callable& read, int64_t count, const std::string& method,
    int threads, const nb::callable& progress) {
  const nb::gil_scoped_release released;
  Model model =
      quantize(handle.model(), calibration_images(read, count), to_options(method, threads, progress));
  std::vector<std::string> warnings = calibration_warnings(*model.quantization, "images");
  return {std::make_shared<ModelHandle>(std::move(model)), std::move(warnings)};
}

/// Shares by map, and warnings.
std::pair<std::map<std::string, double>, std::vector<std::string>> clipped(const ModelHandle& handle,
                                                                           const nb::callable& read,
                                                                           int64_t count, int threads,
                                                                           const nb::callable& progress) {
  const nb::gil_scoped_release released;
  const QuantizationOptions options = to_options(to_string(QuantizationMethod::mse), threads, progress);
  std::map<std::string, double> shares =
      clipped_shares(handle.model(), calibration_images(read, count), options);
  std::vector<std::string> warnings = clipping_warnings(shares, "images");
  return {std::move(shares), std::move(warnings)};
}

}  // namespace

void bind_quantize(nb::module_& module) {
  module.def("quantize", &quantized);
  module.def("clipped_shares", &clipped);
}

}  // namespace lasnet::python
