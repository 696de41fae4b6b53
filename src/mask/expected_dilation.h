// How much of D random patches make, on average.
#pragma once

namespace lasnet {

/// Activation rate that tiles and schedules are chosen for.
inline constexpr double kExpectedRate = 0.5;

/// Expected share of D for random patches of this activation rate: a pixel of D sees the patches of the
/// outputs whose 3x3 stride-s windows contain it. Larger S means fewer patches seen, hence less halo.
double expected_dilated_rate(double rate, int granularity, int dilation_stride);

}  // namespace lasnet
