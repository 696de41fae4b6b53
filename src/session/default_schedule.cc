#include "session/default_schedule.h"

#include <algorithm>

#include "lasnet/latency.h"
#include "mask/expected_dilation.h"
#include "predict/host_profile.h"

namespace lasnet {

NetworkSchedule default_schedule(const Model& model, Isa isa) {
  if (!model.spec.arch.is_dynamic()) return uniform_schedule(model.spec);
  LatencyQuery query{.rate = kExpectedRate};
  if (model.preprocessing.crop >= 32) query.size = {model.preprocessing.crop, model.preprocessing.crop};
  return choose_schedule(model.spec, host_profile(isa).profile, query);
}

std::optional<HardwareProfile> cuda_calibration(const std::string& device) {
  HostProfile host = host_cuda_profile();
  if (host.cached.empty() || cuda_of(host.profile).device != device) return std::nullopt;
  return std::move(host.profile);
}

std::optional<NetworkSchedule> calibrated_schedule(const ModelSpec& spec, const HardwareProfile& calibration,
                                                   Precision precision, MapSize size, int64_t images) {
  constexpr int64_t kMaxImages = 4096;  // that are predicted
  if (precision == Precision::tf32) return std::nullopt;
  return choose_schedule(spec, calibration,
                         {.size = size,
                          .batch = std::min(images, kMaxImages),
                          .precision = precision == Precision::bf16 ? Precision::fp16 : precision,
                          .rate = kExpectedRate,
                          .schedule = {.scatter = ScatterSchedule::in_place}});
}

}  // namespace lasnet
