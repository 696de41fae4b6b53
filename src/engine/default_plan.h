// The plan that sessions of the cpu backend run unless told otherwise.
#pragma once

#include "lasnet/engine.h"

namespace lasnet {

/// Per block the schedule and the break-even between lists and whole map that are predicted to be fastest on
/// this machine (host_profile), for one image of the model's own size at kExpectedRate and one thread: were
/// it to depend on the number of threads, so would the masker's rounding.
NetworkPlan default_plan(const Model& model, Isa isa);

}  // namespace lasnet
