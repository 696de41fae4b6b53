#include "train/deployment.h"

#include "base/fail.h"
#include "predict/host_profile.h"
#include "train/budget.h"
#include "train/config.h"

namespace lasnet {
namespace {

HardwareProfile profile_of(const TrainConfig& config, const TrainObserver& observer) {
  if (!config.hardware.empty()) return load_hardware(config.hardware);
  const bool bytes = config.deploy_precision == Precision::int8;
  HostProfile host = host_profile(available_isas().back(), bytes ? Precision::int8 : Precision::fp32);
  if (!host.problem.empty() && observer.on_message) observer.on_message(host.problem);
  return std::move(host.profile);
}

}  // namespace

Deployment deployment_of(const TrainConfig& config, const TrainObserver& observer) {
  return deployment_of(config, profile_of(config, observer));
}

Deployment deployment_of(const TrainConfig& config, HardwareProfile hardware) {
  const int64_t batch = config.deploy_batch > 0 ? config.deploy_batch : hardware.usual_batch();
  Deployment deployment{.hardware = std::move(hardware),
                        .query = {.size = {config.size, config.size},
                                  .batch = batch,
                                  .threads = config.deploy_threads,
                                  .precision = config.deploy_precision},
                        // A trained network has no scales, which int8 needs.
                        .is_here = config.hardware.empty() && config.deploy_precision == Precision::fp32};
  check_query(deployment.query, deployment.hardware);
  return deployment;
}

std::string to_text(const Deployment& deployment) {
  const LatencyQuery& query = deployment.query;
  return fmt::format("{}, batches of {}, {}{}", deployment.hardware.name, query.batch,
                     to_string(query.precision),
                     query.threads > 1 ? fmt::format(", {} threads", query.threads) : "");
}

void check_deployment(const TrainConfig& config) {
  const bool is_auto = config.arch.granularity == kAutoGranularity;
  if (!is_auto && config.budget_ms == 0) return;
  const Deployment deployment = deployment_of(config, TrainObserver());
  if (is_auto) return;
  ArchConfig arch = config.arch;
  arch.classes = kFewestClasses;
  (void)time_budget(config, make_spec(arch), deployment);
}

}  // namespace lasnet
