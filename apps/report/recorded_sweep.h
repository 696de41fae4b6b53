// The networks of a `lasnet sweep`, which a report shows and does not measure.
#pragma once

#include <string>

#include "output.h"

namespace lasnet::cli {

/// {"source", "processor", "rows"} of a sweep.json; each row has kind, name, granularity, top1, images,
/// macs_ratio and measured_ms, a number or null. Throws Error, naming the value, if the file is none.
Json read_recorded_sweep(const std::string& path);

}  // namespace lasnet::cli
