#include "engine/default_plan.h"

#include "lasnet/latency.h"
#include "latency/host_profile.h"
#include "schedule/cuda_schedule.h"

namespace lasnet {

NetworkPlan default_plan(const Model& model, Isa isa) {
  if (!model.spec.arch.is_dynamic()) return uniform_plan(model.spec);
  LatencyQuery query{.rate = kExpectedRate};
  if (model.preprocessing.crop >= 32) query.size = {model.preprocessing.crop, model.preprocessing.crop};
  return choose_plan(model.spec, host_profile(isa).profile, query);
}

}  // namespace lasnet
