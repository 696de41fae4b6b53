// The plan that sessions of the cpu backend run unless told otherwise.
#pragma once

#include "lasnet/engine.h"

namespace lasnet {

/// Per block the schedule and the break-even between lists and whole map that are predicted to be fastest on
/// this machine (host_profile), for one image of the model's own size at kExpectedRate.
NetworkPlan default_plan(const Model& model, Isa isa, int threads);

}  // namespace lasnet
