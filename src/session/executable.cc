#include "engine/executable.h"

#include <algorithm>
#include <cmath>

#include "base/enum_names.h"
#include "session/default_schedule.h"

namespace lasnet {

namespace {

/// int8 kernels have one schedule.
void check_int8_plan(const ModelSpec& spec, const NetworkSchedule& plan) {
  for (size_t i = 0; i < plan.blocks.size(); ++i) {
    BlockSchedule wanted = feasible_schedule(spec.blocks[i], plan.blocks[i]);
    wanted.whole_map_above = BlockSchedule{}.whole_map_above;
    if (wanted == feasible_schedule(spec.blocks[i], {})) continue;
    fail("schedule of {}: {}; int8 runs {}, of which whole_map_above alone can be chosen",
         spec.blocks[i].name, to_string(plan.blocks[i]), to_string(BlockSchedule{}));
  }
}

/// `plan` has an entry per block.
std::shared_ptr<const Executable> make_int8(const Model& model, Backend backend, std::optional<Isa> isa,
                                            const std::optional<NetworkSchedule>& plan) {
  if (!model.quantization)
    fail("precision int8: the model has no int8 weights; quantize it first, or use fp32");
  if (backend == Backend::reference) return make_int8_reference_executable(model);
  if (plan) check_int8_plan(model.spec, *plan);
  return make_int8_executable(model, isa.value_or(available_isas().back()),
                              plan ? *plan : uniform_schedule(model.spec));
}

constexpr auto kBackends = enum_names<Backend>(
    "backend", {{Backend::cpu, "cpu"}, {Backend::cuda, "cuda"}, {Backend::reference, "reference"}});
constexpr auto kPrecisions = enum_names<Precision>("precision", {{Precision::fp32, "fp32"},
                                                                 {Precision::tf32, "tf32"},
                                                                 {Precision::fp16, "fp16"},
                                                                 {Precision::bf16, "bf16"},
                                                                 {Precision::int8, "int8"}});

constexpr auto kMapLayouts =
    enum_names<MapLayout>("layout of maps", {{MapLayout::nchw, "nchw"}, {MapLayout::nhwc, "nhwc"}});

}  // namespace

std::string to_string(Backend backend) { return kBackends.name(backend); }
Backend parse_backend(const std::string& text) { return kBackends.parse(text); }

std::string to_string(Precision precision) { return kPrecisions.name(precision); }
Precision parse_precision(const std::string& text) { return kPrecisions.parse(text); }

std::string to_string(MapLayout layout) { return kMapLayouts.name(layout); }
MapLayout parse_map_layout(const std::string& text) { return kMapLayouts.parse(text); }

void RunRequest::check_stop() const {
  if (stop != nullptr && (*stop)()) fail("run: stopped, as RunOptions::stop asked");
}

void check_backend_options(Backend backend, std::optional<Isa> isa, Precision precision) {
  if (backend == Backend::cuda && isa) {
    fail("isa {}: the cuda backend has no instruction sets to choose from; leave it out", to_string(*isa));
  }
  if (backend == Backend::reference && isa && *isa != Isa::scalar)
    fail("isa {}: the reference backend runs scalar loops only", to_string(*isa));
  if (precision == Precision::int8) {
    if (backend == Backend::cuda) fail("precision int8: the cuda backend has none; use the cpu backend");
  } else if (backend != Backend::cuda && precision != Precision::fp32) {
    fail("precision {0}: the {1} backend computes in fp32 or int8; {0} needs the cuda backend",
         to_string(precision), to_string(backend));
  }
}

void check_thresholds(const std::vector<float>& thresholds, const ModelSpec& spec) {
  const size_t blocks = spec.blocks.size();
  if (thresholds.size() > 1 && thresholds.size() != blocks) {
    fail("thresholds: {} values; {} has {} blocks: expected one value for each, or one for all",
         thresholds.size(), spec.arch.name, blocks);
  }
  const auto nan = std::ranges::find_if(thresholds, [](float value) { return std::isnan(value); });
  if (nan != thresholds.end())
    fail("thresholds[{}]: NaN; expected a number, or an infinity", nan - thresholds.begin());
}

std::shared_ptr<const Executable> make_executable(const Model& model, Backend backend, std::optional<Isa> isa,
                                                  const std::optional<NetworkSchedule>& plan,
                                                  Precision precision) {
  check_backend_options(backend, isa, precision);
  check_weights(model.spec, model.weights, "model");
  if (plan && plan->blocks.size() != model.spec.blocks.size()) {
    fail("plan: schedules of {} blocks; {} has {}", plan->blocks.size(), model.spec.arch.name,
         model.spec.blocks.size());
  }
  if (precision == Precision::int8) return make_int8(model, backend, isa, plan);
  switch (backend) {
    case Backend::reference:
      return make_reference_executable(model);
    case Backend::cpu:
      break;
    case Backend::cuda:
      return make_cuda_executable(model, precision, plan, {cuda_calibration, calibrated_schedule});
  }
  const Isa kernels = isa.value_or(available_isas().back());
  return make_cpu_executable(model, kernels, plan ? *plan : default_schedule(model, kernels));
}

}  // namespace lasnet
