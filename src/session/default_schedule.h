// The plans that sessions run unless told otherwise.
#pragma once

#include <optional>
#include <string>

#include "lasnet/engine.h"
#include "lasnet/hardware.h"

namespace lasnet {

/// The plan of the cpu backend: for each block the schedule, and the break-even between lists and whole map.
/// They are predicted to be fastest on this machine (host_profile), for one image of the model's own size at
/// kExpectedRate and one thread. A plan that depended on the number of threads would make the masker's
/// rounding depend on it.
NetworkSchedule default_schedule(const Model& model, Isa isa);

/// What `lasnet calibrate --device cuda` left of this device; of another one's nothing.
std::optional<HardwareProfile> cuda_calibration(const std::string& device);

/// The plan of the cuda backend: for each block the schedule that a calibration predicts to be fastest for
/// batches of `images` of `size` at kExpectedRate. Only schedules that give the same bits are considered:
/// results do not depend on the batch. Nothing where the precision is not predicted (tf32).
std::optional<NetworkSchedule> calibrated_schedule(const ModelSpec& spec, const HardwareProfile& calibration,
                                                   Precision precision, MapSize size, int64_t images);

}  // namespace lasnet
