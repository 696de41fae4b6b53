// The machine's fused multiply-add peak, measured.
#pragma once

#include "lasnet/engine.h"

namespace lasnet {

/// Float32 FLOP/s (two per multiply-add) of one thread on independent register chains of this instruction
/// set, over about `seconds`.
double fma_peak_flops(Isa isa, double seconds);

}  // namespace lasnet
