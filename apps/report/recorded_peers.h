// What was measured at another time than the report, and is shown with its source.
#pragma once

#include <string>

#include "output.h"

namespace lasnet::cli {

/// A comparison with other engines, from a file that bench/peers/compare.py --json wrote: {"file", "date",
/// "processor", "threads", "batch", "precision", "macs_ratio", "rounds", "networks": [{"name", "min_ms",
/// "median_ms", "slower": {"q1", "median", "q3"}}]}. `slower` is how many times as long as lasnet's sparse
/// run. Throws Error on a file of another kind, and on one about another model than `model`.
Json read_peers(const std::string& path, const std::string& model);

}  // namespace lasnet::cli
