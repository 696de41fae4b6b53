// Messages to people, on standard error.
#pragma once

#include <string>

namespace lasnet::cli {

void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace lasnet::cli
