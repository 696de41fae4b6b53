#include "train/auto_granularity.h"

#include "base/fail.h"
#include "lasnet/latency.h"
#include "predict/host_profile.h"

namespace lasnet {
namespace {

/// What config.hardware names, else what is known of this machine; the observer is told of a calibration that
/// cannot be used.
HardwareProfile hardware_of(const TrainConfig& config, const TrainObserver& observer) {
  if (!config.hardware.empty()) return load_hardware(config.hardware);
  HostProfile host = host_profile(available_isas().back());
  if (!host.problem.empty() && observer.on_message) observer.on_message(host.problem);
  return std::move(host.profile);
}

}  // namespace

TrainConfig with_granularity(TrainConfig config, const TrainObserver& observer) {
  if (config.arch.granularity != kAutoGranularity) return config;
  std::vector<int>& granularity = config.arch.granularity;
  if (config.resume) {
    if (const auto resumed = resumed_config(config.output)) {
      granularity = resumed->arch.granularity;
      return config;
    }
  }
  const HardwareProfile hardware = hardware_of(config, observer);
  const LatencyQuery query{.size = {config.size, config.size}, .batch = hardware.usual_batch()};
  const GranularitySearch found = search_granularity(config.arch, hardware, query, {.macs = config.target});
  granularity = found.granularity;
  if (observer.on_message) {
    const double speedup = found.latency.speedup();
    observer.on_message(
        fmt::format("granularity {} chosen for {}, batches of {}, fp32: {:.2f}x predicted at MAC ratio "
                    "{:.2f}{}",
                    granularity_to_string(granularity), hardware.name, query.batch, speedup, found.macs_ratio,
                    speedup < 1 ? "; none is faster there than the static network" : ""));
  }
  return config;
}

}  // namespace lasnet
