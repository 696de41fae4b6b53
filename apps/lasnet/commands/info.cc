// `lasnet info`: what this build and this machine can do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "base/cgroup.h"
#include "commands.h"
#include "lasnet/version.h"
#include "machine.h"
#include "output.h"
#include "program.h"

namespace lasnet::cli {
namespace {

Json collect() {
  const auto quota = cpu_quota();
  Json isas = Json::array();
  for (const Isa isa : available_isas()) isas.push_back(to_string(isa));
  Json backends = {to_string(Backend::reference), to_string(Backend::cpu)};
  Json cuda = {{"devices", Json::array()}, {"unavailable", cuda_unavailable_reason()}};
  for (const CudaDevice& device : cuda_devices()) {
    cuda["devices"].push_back({{"name", device.name},
                               {"compute_capability", device.compute_capability / 10.0},
                               {"multiprocessors", device.multiprocessors},
                               {"memory_bytes", device.memory_bytes}});
  }
  if (!cuda["devices"].empty()) {
    backends.push_back(to_string(Backend::cuda));
    cuda["compiled_for"] = cuda_code_architecture() / 10.0;
  }
  return {{"version", version()},
          {"cpu",
           {{"name", processor_name()},
            {"physical_cores", physical_cores()},
            {"processors", logical_processors()},
            {"quota", quota ? Json(*quota) : Json(nullptr)},
            {"default_threads", default_threads()},
            {"features", processor_features()}}},
          {"backends", backends},
          {"cuda", cuda},
          {"isas", isas},
          {"default_isa", to_string(available_isas().back())},
          {"int8_kernels", available_int8_kernel_names()},
          {"architectures", architecture_names()},
          {"training", kTraining && is_built("train")}};
}

/// "NVIDIA H100 (9.0, 132 multiprocessors, 80 GiB)", or why there is none.
std::string cuda_text(const Json& cuda) {
  std::string text;
  for (const Json& device : cuda["devices"]) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} ({:.1f}, {} multiprocessors, {:.0f} GiB)", device["name"].get<std::string>(),
                        device["compute_capability"].get<double>(), device["multiprocessors"].get<int>(),
                        device["memory_bytes"].get<double>() / (1 << 30));
  }
  if (text.empty()) return "none: " + cuda["unavailable"].get<std::string>();
  const double code = cuda["compiled_for"].get<double>();
  if (code == 0) return text + "; this build has no kernels for it";
  if (code == cuda["devices"][0]["compute_capability"].get<double>()) return text;
  return text + fmt::format("; kernels compiled for {:.1f}, an older one", code);
}

std::string words(const Json& list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), " "));
}

std::string training_text() {
  if (!kTraining) {
    return "no: install libtorch (Debian: libtorch-dev libopenblas0-openmp) and build again with "
           "-DLASNET_TRAIN=ON";
  }
  return is_built("train") ? "yes"
                           : "not yet: lasnet-train is not beside this program; `make build` builds it, the "
                             "package lasnet-train has it";
}

/// What a container leaves of the processors.
std::string quota_text(const Json& cpu) {
  if (cpu["quota"].is_null()) return "";
  return fmt::format(", of which a quota gives {:g}: {} thread{} by default", cpu["quota"].get<double>(),
                     cpu["default_threads"].get<int>(), cpu["default_threads"].get<int>() == 1 ? "" : "s");
}

int info(bool json) {
  const Json facts = collect();
  if (json) {
    print_json(facts);
    return 0;
  }
  const Json& cpu = facts["cpu"];
  print(fmt::format("lasnet         {}\n", version()) +
        fmt::format("processor      {}, {} cores, {} threads{}\n", cpu["name"].get<std::string>(),
                    cpu["physical_cores"].get<int>(), cpu["processors"].get<int>(), quota_text(cpu)) +
        fmt::format("features       {}\n", words(cpu["features"])) +
        fmt::format("backends       {}\n", words(facts["backends"])) +
        fmt::format("cuda           {}\n", cuda_text(facts["cuda"])) +
        fmt::format("kernels        {} (default {})\n", words(facts["isas"]),
                    facts["default_isa"].get<std::string>()) +
        fmt::format("int8 kernels   {}\n", words(facts["int8_kernels"])) +
        fmt::format("architectures  {}\n", words(facts["architectures"])) +
        fmt::format("training       {}\n", training_text()));
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Action& action) {
  auto* command = add_command(app, "info", "Version, processor features, kernels, backends");
  const auto json = std::make_shared<bool>(false);
  add_json_flag(*command, *json);
  command->callback([json, &action] { action = [json] { return info(*json); }; });
}

}  // namespace lasnet::cli
