// Messages to people, on standard error: escaped and of bounded length, whatever foreign text is in them.
#pragma once

#include <string>

namespace lasnet::cli {

/// What is said at all.
enum class LogLevel { error, warning, info };
void set_log_level(LogLevel level);

void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace lasnet::cli
