// What reading weights and making them have in common.
#pragma once

#include <string>

#include "lasnet/model.h"

namespace lasnet {

/// Throws Error naming `origin` where the weights do not fit the memory as float32, once as they are and once
/// as packed for a backend.
void check_weight_memory(const ModelSpec& spec, const std::string& origin);

}  // namespace lasnet
