// How photographs become inputs, where a model file does not say or should say otherwise.
#pragma once

#include <optional>
#include <vector>

#include "cli.h"
#include "lasnet/model.h"

namespace lasnet::cli {

struct PreprocessingOptions {
  std::optional<int> resize, crop;
  std::optional<std::vector<float>> mean, std;
};

/// --resize, --crop, --mean, --std.
void add_preprocessing_options(CLI::App& app, PreprocessingOptions& options);
/// Throws UsageError where the crop is larger than what it is cut from.
Preprocessing apply(const PreprocessingOptions& options, Preprocessing preprocessing);

}  // namespace lasnet::cli
