#include "engine/executable.h"

#include "core/fail.h"

namespace lasnet {

std::string to_string(Backend backend) { return backend == Backend::reference ? "reference" : "cpu"; }

Backend parse_backend(const std::string& text) {
  if (text == "reference") return Backend::reference;
  if (text == "cpu") return Backend::cpu;
  fail("backend '{}' is unknown; expected cpu or reference", text);
}

std::shared_ptr<const Executable> make_executable(const Model& model, Backend backend,
                                                  std::optional<Isa> isa) {
  check_weights(model.spec, model.weights, "model");
  if (backend == Backend::cpu) return make_cpu_executable(model, isa);
  if (isa && *isa != Isa::scalar) {
    fail("the reference backend runs scalar loops only; it cannot be forced to {}", to_string(*isa));
  }
  return make_reference_executable(model);
}

}  // namespace lasnet
