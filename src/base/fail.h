// Throwing Error with a formatted message.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lasnet/error.h"

namespace lasnet {

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lasnet
