// What to tell whoever loads a model file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// For WeightsOrigin::warnings. `described`: the model that the file's metadata describes, without weights.
/// `model`: what is made of it, with an origin.
std::vector<std::string> load_warnings(const std::string& path, const std::optional<Model>& described,
                                       const Model& model);

}  // namespace lasnet
