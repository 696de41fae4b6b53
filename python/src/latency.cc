// Predicted latency, the search for granularities, hardware profiles: as dicts with the fields of the
// dataclasses in lasnet/_latency.py.
#include "lasnet/latency.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "arguments.h"
#include "arrays.h"
#include "bindings.h"
#include "lasnet/error.h"
#include "lasnet/geometry.h"

namespace lasnet::python {
namespace {

Precision to_precision(const std::string& precision) {
  if (precision == "fp32") return Precision::fp32;
  if (precision == "fp16") return Precision::fp16;
  if (precision == "int8") return Precision::int8;
  throw Error("precision '" + precision +
              "' is not predicted; expected fp32, fp16 or int8 (bf16 takes as long as fp16)");
}

HardwareProfile open_hardware(const std::optional<std::string>& hardware, Precision precision) {
  return hardware ? load_hardware(*hardware) : host_hardware(precision);
}

template <typename T>
std::optional<T> entry(const nb::dict& given, const char* name) {
  const nb::object value = given[name];
  if (value.is_none()) return std::nullopt;
  return nb::cast<T>(value);
}

template <typename T>
T required(const nb::dict& given, const char* name) {
  const nb::object value = given[name];
  return nb::cast<T>(value);
}

/// What a query asks, of Python's keyword arguments.
struct Question {
  Question(Network of, const nb::dict& given)
      : network(std::move(of)),
        overrides(to_overrides(given)),
        hardware(entry<std::string>(given, "hardware")),
        size(entry<std::tuple<int64_t, int64_t>>(given, "size")),
        batch(entry<int64_t>(given, "batch")),
        threads(required<int>(given, "threads")),
        rate(required<double>(given, "rate")),
        precision(required<std::string>(given, "precision")),
        schedule(required<std::string>(given, "schedule")),
        equations(required<std::string>(given, "equations")) {}

  /// The batch, if nobody says: what published figures of server GPUs are for, else one image.
  LatencyQuery query(const HardwareProfile& profile) const {
    return {.size = size ? MapSize{std::get<0>(*size), std::get<1>(*size)} : usual_size(network),
            .batch = batch.value_or(profile.usual_batch()),
            .threads = threads,
            .precision = to_precision(precision),
            .rate = rate,
            .schedule = parse_schedule_constraint(schedule),
            .model = parse_latency_model(equations)};
  }

  Network network;
  ArchOverrides overrides;
  std::optional<std::string> hardware;
  std::optional<std::tuple<int64_t, int64_t>> size;
  std::optional<int64_t> batch;
  int threads;
  double rate;
  std::string precision, schedule, equations;
};

nb::list describe(const std::vector<OperatorLatency>& operators) {
  nb::list list;
  for (const OperatorLatency& latency : operators) {
    nb::dict fields;
    fields["name"] = latency.name;
    fields["seconds"] = latency.seconds;
    fields["compute_seconds"] = latency.compute_s;
    fields["offchip_seconds"] = latency.offchip_s;
    fields["onchip_seconds"] = latency.onchip_s;
    fields["launch_seconds"] = latency.launch_s;
    fields["utilisation"] = latency.utilisation;
    fields["tile"] = latency.tile;
    fields["bound"] = latency.bound();
    list.append(fields);
  }
  return list;
}

nb::list describe(const std::vector<BlockLatency>& blocks) {
  nb::list list;
  for (const BlockLatency& block : blocks) {
    nb::dict fields;
    fields["name"] = block.name;
    fields["stage"] = block.stage + 1;
    fields["static_seconds"] = block.static_s;
    fields["dynamic_seconds"] = block.dynamic_s;
    fields["schedule"] = to_string(block.schedule);
    fields["operators"] = describe(block.operators);
    list.append(fields);
  }
  return list;
}

nb::dict describe(const NetworkLatency& latency, const HardwareProfile& hardware, const LatencyQuery& query) {
  nb::dict fields;
  fields["hardware"] = hardware.name;
  fields["batch"] = query.batch;
  fields["size"] = std::tuple(query.size.height, query.size.width);
  fields["static_seconds"] = latency.static_s;
  fields["dynamic_seconds"] = latency.dynamic_s;
  fields["macs_ratio"] = latency.macs_ratio;
  fields["blocks"] = describe(latency.blocks);
  fields["fixed"] = describe(latency.fixed);
  return fields;
}

/// What is predicted: an architecture has the published granularity where nobody says one, as for `lasnet
/// predict`.
ArchConfig predicted_network(const Question& question) {
  ArchConfig arch = describe_network(question.network, question.overrides);
  if (names_architecture(question.network) && !question.overrides.granularity)
    arch.granularity = {4, 4, 2, 1};
  return arch;
}

nb::dict predict(const Network& network, const nb::dict& given) {
  const Question question(network, given);
  HardwareProfile hardware;
  LatencyQuery query;
  NetworkLatency latency;
  {
    const nb::gil_scoped_release released;
    hardware = open_hardware(question.hardware, to_precision(question.precision));
    query = question.query(hardware);
    latency = predict_latency(make_spec(predicted_network(question)), hardware, query);
  }
  return describe(latency, hardware, query);
}

nb::list describe(const std::vector<SearchCurve>& curves) {
  nb::list list;
  for (const SearchCurve& curve : curves) {
    nb::dict fields;
    fields["name"] = curve.name;
    fields["stage"] = curve.stage + 1;
    fields["granularity"] = to_python_granularity(curve.granularity);
    fields["seconds"] = curve.seconds;
    fields["static_seconds"] = curve.static_s;
    fields["seconds_at_rate"] = curve.seconds_at_rate;
    fields["break_even"] = curve.break_even;
    fields["chosen"] = curve.chosen;
    fields["patch_share"] = curve.patch_share;
    fields["coarse"] = curve.coarse;
    fields["saves"] = curve.saves;
    list.append(fields);
  }
  return list;
}

nb::dict search(const Network& network, const nb::dict& given) {
  const Question question(network, given);
  std::vector<int> candidates;
  for (const std::string& side : required<std::vector<std::string>>(given, "candidates"))
    candidates.push_back(parse_patch_side(side));
  const SearchOptions options{.granularities = candidates,
                              .tolerance = required<double>(given, "tolerance"),
                              .per_block = required<bool>(given, "per_block"),
                              .max_patch_share = required<double>(given, "max_patch_share"),
                              .macs = entry<double>(given, "macs"),
                              .budget_s = entry<double>(given, "budget_seconds")};
  HardwareProfile hardware;
  LatencyQuery query;
  GranularitySearch found;
  {
    const nb::gil_scoped_release released;
    hardware = open_hardware(question.hardware, to_precision(question.precision));
    query = question.query(hardware);
    found = search_granularity(describe_network(network, question.overrides), hardware, query, options);
  }
  nb::dict fields;
  fields["granularity"] = granularity_to_string(found.granularity);
  fields["rate"] = found.rate;
  fields["macs_ratio"] = found.macs_ratio;
  fields["latency"] = describe(found.latency, hardware, query);
  fields["rates"] = found.rates;
  fields["curves"] = describe(found.curves);
  return fields;
}

nb::list hardware_profiles() {
  nb::list list;
  for (const std::string& name : hardware_names()) {
    const HardwareProfile profile = load_hardware(name);
    nb::dict fields;
    fields["name"] = profile.name;
    fields["kind"] = to_string(profile.kind());
    fields["description"] = profile.description;
    fields["source"] = profile.source;
    fields["toml"] = hardware_to_toml(profile);
    list.append(fields);
  }
  return list;
}

}  // namespace

void bind_latency(nb::module_& module) {
  module.def("predict", &predict);
  module.def("search", &search);
  module.def("hardware_profiles", &hardware_profiles);
}

}  // namespace lasnet::python
