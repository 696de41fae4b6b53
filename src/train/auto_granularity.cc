#include "train/auto_granularity.h"

#include "base/fail.h"

namespace lasnet {

std::vector<int> searched_granularity(const TrainConfig& config, const Deployment& deployment,
                                      const TrainObserver& observer) {
  SearchOptions options;
  if (config.budget_ms > 0) {
    options.budget_s = 1e-3 * config.budget_ms;
  } else {
    options.macs = config.target;
  }
  const GranularitySearch found =
      search_granularity(config.arch, deployment.hardware, deployment.query, options);
  if (observer.on_message) {
    const double speedup = found.latency.speedup();
    observer.on_message(fmt::format("granularity {} chosen for {}: {:.2f}x predicted at MAC ratio {:.2f}{}",
                                    granularity_to_string(found.granularity), to_text(deployment), speedup,
                                    found.macs_ratio,
                                    speedup < 1 ? "; none is faster there than the static network" : ""));
  }
  return found.granularity;
}

}  // namespace lasnet
