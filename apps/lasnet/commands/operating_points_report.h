// The operating points of a model, as JSON and as a table: the same of tuning and of inspection.
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"
#include "output.h"

namespace lasnet::cli {

Json operating_points_json(const std::vector<OperatingPoint>& points);
/// A line per point, from the fewest MACs on, with a column per profile that times were predicted for.
std::string operating_points_table(const std::vector<OperatingPoint>& points);

}  // namespace lasnet::cli
