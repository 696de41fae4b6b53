// The teacher that a user gives.
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

/// Throws Error if the file is malformed, or its network is for other classes or other inputs.
Model load_teacher_for(const std::string& path, const std::vector<std::string>& classes,
                       const Preprocessing& preprocessing);

}  // namespace lasnet
