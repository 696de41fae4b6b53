// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>

#include "lasnet/export.h"

namespace lasnet {

/// Thrown by every public function on bad input or a failed system call. The message names the operator or
/// file, what was expected, what was got, and what to do about it. It is safe to print: what foreign files
/// put into it is escaped, and it has 4 KiB at most, or little more.
class LASNET_EXPORT Error : public std::runtime_error {
 public:
  /// Escapes `message` and cuts its middle if it is longer than 4 KiB.
  explicit Error(const std::string& message);
};

}  // namespace lasnet
