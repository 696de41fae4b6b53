#include "engine/executable.h"

#include "core/fail.h"

namespace lasnet {

std::string to_string(Backend backend) { return backend == Backend::reference ? "reference" : "cpu"; }

Backend parse_backend(const std::string& text) {
  if (text == "reference") return Backend::reference;
  if (text == "cpu") return Backend::cpu;
  fail("backend '{}' is unknown; expected cpu or reference", text);
}

std::shared_ptr<const Executable> make_executable(const Model& model, Backend backend, std::optional<Isa> isa,
                                                  const std::optional<NetworkPlan>& plan) {
  check_weights(model.spec, model.weights, "model");
  if (plan && plan->blocks.size() != model.spec.blocks.size()) {
    fail("plan: schedules of {} blocks; {} has {}", plan->blocks.size(), model.spec.arch.name,
         model.spec.blocks.size());
  }
  if (backend == Backend::cpu) return make_cpu_executable(model, isa, plan);
  if (isa && *isa != Isa::scalar) {
    fail("the reference backend runs scalar loops only; it cannot be forced to {}", to_string(*isa));
  }
  return make_reference_executable(model);
}

}  // namespace lasnet
