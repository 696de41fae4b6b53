#include "mask/tap_offsets.h"

namespace lasnet {

std::vector<int64_t> tap_offsets(int kernel, int64_t row_pixels, int64_t pitch, bool merge_rows,
                                 int dilation) {
  std::vector<int64_t> offsets;
  int64_t half = kernel / 2;
  for (int64_t y = -half; y <= half; ++y) {
    if (merge_rows) {
      offsets.push_back((y * row_pixels - half) * pitch);
      continue;
    }
    for (int64_t x = -half; x <= half; ++x) offsets.push_back((y * row_pixels + x) * dilation * pitch);
  }
  return offsets;
}

}  // namespace lasnet
