#include "mask/window_axis.h"

namespace lasnet {

PatchesSeen patches_reading(int64_t v, const WindowAxis& axis) {
  PatchesSeen seen;
  for (int64_t tap = 1; tap >= -1; --tap) {  // the last tap reads it for the first output
    const int64_t scaled = v - tap * axis.dilation;
    if (scaled < 0 || scaled % axis.stride != 0 || scaled / axis.stride >= axis.outputs) continue;
    const int64_t patch = scaled / axis.stride / axis.granularity;
    if (seen.count == 0 || seen.patches[seen.count - 1] != patch) seen.patches[seen.count++] = patch;
  }
  return seen;
}

}  // namespace lasnet
