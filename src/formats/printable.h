// Text of foreign files in messages.
#pragma once

#include <string>
#include <string_view>

#include "base/escape.h"

namespace lasnet {

/// The text's first bytes, escaped, so that a message can neither grow with a file nor control a terminal.
inline std::string printable(std::string_view text) { return excerpt(text); }

}  // namespace lasnet
