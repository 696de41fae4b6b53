// Whether floats are numbers.
#pragma once

#include <span>

namespace lasnet {

/// Whether none is NaN or infinite. Reads all of them, some at a time.
bool all_finite(std::span<const float> values);

}  // namespace lasnet
