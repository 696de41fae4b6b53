// The parts of a report. Each measures and returns a document: plain data, from which figures, tables and
// page are made.
#pragma once

#include <string>
#include <vector>

#include "setup.h"

namespace lasnet::cli {

/// Photographs with what every block computed of them. Writes pictures/*.jpg into the report's folder.
Json measure_regions(const Setup& setup, const Told& told);
/// Predicted and measured time for each S, and the S that are chosen here and on hardware that is not here.
Json measure_prediction(const Setup& setup, const Told& told);
/// Dense, sparse and other libraries' networks; speed-up against density; accuracy where there is one.
Json measure_speed(const Setup& setup, const Told& told);
/// What S and the fusion of operators do to the time of the whole network.
Json measure_ablations(const Setup& setup, const Told& told);
/// Time of every operation of every block, dense beside sparse.
Json measure_blocks(const Setup& setup, const Told& told);
/// Thresholds, from nothing to everything.
Json measure_knob(const Setup& setup, const Told& told);
/// What it all ran on, and how much times scatter there.
Json measure_machine(const Setup& setup, const Told& told);

struct Part {
  const char* name;  ///< of its document
  const char* title;
  double quick_s, usual_s;  ///< about as long it takes
  Json (*measure)(const Setup& setup, const Told& told);
};
const std::vector<Part>& parts();

}  // namespace lasnet::cli
