// What `lasnet bench` does: one measurement, or a sweep over densities.
#pragma once

#include <functional>
#include <string>

#include "bench_options.h"
#include "bench_report.h"

namespace lasnet::cli {

/// Told after each repetition what has been measured.
using BenchProgress = std::function<void(const Measurements&)>;

/// Measures what the options, which resolve() has seen, ask for. Throws Error.
BenchReport bench(const BenchOptions& options, const BenchProgress& progress);

/// Measures every granularity and rate, and writes the files; returns a table. Throws Error.
std::string sweep(BenchOptions options);

}  // namespace lasnet::cli
