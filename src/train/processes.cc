#include "train/processes.h"

#include <charconv>
#include <cstdlib>

#include "base/fail.h"
#include "train/config.h"

namespace lasnet {
namespace {

constexpr int kMaxProcesses = 4096, kMaxPort = 65535;
/// From torchrun's port to that of a run: jobs on one machine often have ports one after the other.
constexpr int kPortsAway = 1000;

int integer_of(const std::string& name, const std::string& text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    fail("{}={}: expected an integer from {} to {}", name, text, low, high);
  return value;
}

}  // namespace

Processes processes_from(const Environment& environment) {
  Processes processes;
  const auto world_size = environment("WORLD_SIZE");
  if (!world_size) return processes;
  processes.size = integer_of("WORLD_SIZE", *world_size, 1, kMaxProcesses);
  if (processes.size == 1) return processes;
  const auto needed = [&](const std::string& name) {
    const auto value = environment(name);
    if (!value || value->empty())
      fail(
          "WORLD_SIZE={}, but {} is not set; start the processes with torchrun, or set RANK, MASTER_ADDR and "
          "MASTER_PORT for each",
          processes.size, name);
    return *value;
  };
  processes.rank = integer_of("RANK", needed("RANK"), 0, processes.size - 1);
  processes.address = needed("MASTER_ADDR");
  processes.port = integer_of("MASTER_PORT", needed("MASTER_PORT"), 1, kMaxPort);
  if (const auto local = environment("LOCAL_WORLD_SIZE"))
    processes.local_size = integer_of("LOCAL_WORLD_SIZE", *local, 1, processes.size);
  processes.local_rank = processes.rank % processes.local_size;
  if (const auto local = environment("LOCAL_RANK"))
    processes.local_rank = integer_of("LOCAL_RANK", *local, 0, processes.size - 1);
  // There torchrun itself listens, in a protocol that differs among its versions.
  if (environment("TORCHELASTIC_USE_AGENT_STORE") == "True")
    processes.port += processes.port + kPortsAway <= kMaxPort ? kPortsAway : -kPortsAway;
  return processes;
}

Processes processes_from_environment() {
  return processes_from([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

void check_processes(const Processes& processes, const TrainConfig& config) {
  if (config.batch < processes.size) {
    fail("{} {}: {} processes need at least one image each in a step; raise it, or start fewer",
         setting_name("batch"), config.batch, processes.size);
  }
  if (config.norm_images > 0 && config.norm_images < processes.size) {
    fail("{} {}: {} processes need at least one image each; raise it, or start fewer",
         setting_name("norm_images"), config.norm_images, processes.size);
  }
}

}  // namespace lasnet
