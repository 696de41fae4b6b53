// `lasnet info`: what this build and this machine can do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "commands.h"
#include "common.h"
#include "machine.h"

namespace lasnet::cli {
namespace {

Json collect() {
  Json isas = Json::array();
  for (const Isa isa : available_isas()) isas.push_back(to_string(isa));
  return {{"version", version()},
          {"cpu",
           {{"name", processor_name()},
            {"physical_cores", physical_cores()},
            {"processors", logical_processors()},
            {"features", processor_features()}}},
          {"backends", {to_string(Backend::reference), to_string(Backend::cpu)}},
          {"isas", isas},
          {"default_isa", to_string(available_isas().back())},
          {"architectures", architecture_names()},
          {"training", kTraining}};
}

std::string words(const Json& list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), " "));
}

int info(bool json) {
  const Json facts = collect();
  if (json) {
    print_json(facts);
    return 0;
  }
  const Json& cpu = facts["cpu"];
  print(fmt::format("lasnet         {}\n", version()) +
        fmt::format("processor      {}, {} cores, {} threads\n", cpu["name"].get<std::string>(),
                    cpu["physical_cores"].get<int>(), cpu["processors"].get<int>()) +
        fmt::format("features       {}\n", words(cpu["features"])) +
        fmt::format("backends       {}\n", words(facts["backends"])) +
        fmt::format("kernels        {} (default {})\n", words(facts["isas"]),
                    facts["default_isa"].get<std::string>()) +
        fmt::format("architectures  {}\n", words(facts["architectures"])) +
        fmt::format("training       {}\n", kTraining ? "yes" : "no (built with -DLASNET_TRAIN=OFF)"));
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("info", "Version, processor features, kernels, backends");
  const auto json = std::make_shared<bool>(false);
  add_json_flag(*command, *json);
  command->callback([json, &action] { action = [json] { return info(*json); }; });
}

}  // namespace lasnet::cli
