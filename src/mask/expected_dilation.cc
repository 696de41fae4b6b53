#include "mask/expected_dilation.h"

#include <cmath>

#include "base/math.h"

namespace lasnet {

double expected_dilated_rate(double rate, int granularity, int dilation_stride) {
  // Along one axis a position of D is read by outputs y with s * y in [v - 1, v + 1]: three of them at stride
  // 1, one or two in turn at stride 2. Count how often those outputs lie in one, two or three patches.
  int period = granularity * dilation_stride;
  double shares[4] = {};
  for (int v = 0; v < period; ++v) {
    int shifted = v + period;  // a period further, so that every output is positive
    int first = ceil_div(shifted - 1, dilation_stride), last = (shifted + 1) / dilation_stride;
    shares[last / granularity - first / granularity + 1] += 1.0 / period;
  }
  double expected = 0;
  for (int rows = 1; rows <= 3; ++rows) {
    for (int columns = 1; columns <= 3; ++columns) {
      expected += shares[rows] * shares[columns] * (1 - std::pow(1 - rate, rows * columns));
    }
  }
  return expected;
}

}  // namespace lasnet
