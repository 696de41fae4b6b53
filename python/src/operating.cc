// Operating points: those of a model, the one that meets a budget, and finding them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "arguments.h"
#include "bindings.h"
#include "callbacks.h"
#include "lasnet/operating_point.h"
#include "lasnet/tune.h"

namespace lasnet::python {
namespace {

/// The fields of lasnet.OperatingPoint.
nb::dict describe(const OperatingPoint& point) {
  nb::dict fields;
  fields["macs_ratio"] = point.macs_ratio;
  fields["top1"] = point.top1;
  fields["thresholds"] = point.thresholds;
  fields["rates"] = point.rates;
  fields["predicted_ms"] = point.predicted_ms;
  return fields;
}

nb::list operating_points(const ModelHandle& handle) {
  nb::list points;
  for (const OperatingPoint& point : handle.model().operating_points) points.append(describe(point));
  return points;
}

nb::dict point_within(const ModelHandle& handle, std::optional<double> macs, std::optional<double> seconds,
                      const std::optional<std::string>& hardware,
                      const std::optional<std::tuple<int64_t, int64_t>>& size, int64_t batch, int threads,
                      const std::string& precision) {
  OperatingPoint point;
  {
    const nb::gil_scoped_release released;
    OperatingBudget budget{.macs = macs,
                           .seconds = seconds,
                           .hardware = {},
                           .size = {},
                           .batch = batch,
                           .threads = threads,
                           .precision = parse_precision(precision)};
    if (hardware) budget.hardware = load_hardware(*hardware);
    if (size) budget.size = MapSize{std::get<0>(*size), std::get<1>(*size)};
    point = operating_point(handle.model(), budget);
  }
  return describe(point);
}

std::vector<LabelledImage> read_images(const nb::callable& read, const std::vector<int>& labels,
                                       const std::vector<int64_t>& indices) {
  std::vector<Tensor> inputs = call_read(read, indices);
  std::vector<LabelledImage> images;
  for (size_t i = 0; i < indices.size(); ++i)
    images.push_back({std::move(inputs[i]), labels[static_cast<size_t>(indices[i])]});
  return images;
}

/// A copy of the model with operating points. `progress`: a function of a share, which may raise.
std::shared_ptr<ModelHandle> tuned(const ModelHandle& handle, const nb::callable& read,
                                   const std::vector<int>& labels, int points, int images, int batch,
                                   uint64_t seed, int threads, const std::string& backend,
                                   const std::vector<std::string>& hardware, const nb::callable& progress) {
  const nb::gil_scoped_release released;
  TuneOptions options{.points = points,
                      .images = images,
                      .batch = batch,
                      .seed = seed,
                      .session = {.backend = parse_backend(backend), .threads = threads},
                      .hardware = {},
                      .progress = [&](const TuneProgress& now) { report_progress(progress, now.share); }};
  for (const std::string& name : hardware) options.hardware.push_back(load_hardware(name));
  Model model = handle.model();
  const LabelledImages data{
      .count = static_cast<int64_t>(labels.size()),
      .read = [&](const std::vector<int64_t>& indices) { return read_images(read, labels, indices); }};
  model.operating_points = tune(model, data, options);
  return std::make_shared<ModelHandle>(std::move(model));
}

}  // namespace

void bind_operating(nb::module_& module) {
  module.def("operating_points", &operating_points);
  module.def("operating_point", &point_within, nb::arg("model"), nb::arg("macs").none(),
             nb::arg("seconds").none(), nb::arg("hardware").none(), nb::arg("size").none(), nb::arg("batch"),
             nb::arg("threads"), nb::arg("precision"));
  module.def("tune", &tuned);
  module.def("few_images_warning", &few_images_warning);
}

}  // namespace lasnet::python
