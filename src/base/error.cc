#include "lasnet/error.h"

#include "base/escape.h"

namespace lasnet {

Error::Error(const std::string& message) : std::runtime_error(as_message(message)) {}

}  // namespace lasnet
