#include "parts.h"

namespace lasnet::cli {

const std::vector<Part>& parts() {
  static const std::vector<Part> all = {
      {"regions", "Computed regions", 3, 6, measure_regions},
      {"prediction", "Latency prediction guides S", 10, 30, measure_prediction},
      {"speed", "Real speed-up", 20, 60, measure_speed},
      {"ablations", "Ablations", 12, 30, measure_ablations},
      {"blocks", "Where the time goes", 2, 5, measure_blocks},
      {"knob", "The knob", 4, 12, measure_knob},
      {"machine", "This machine", 3, 3, measure_machine}};
  return all;
}

}  // namespace lasnet::cli
