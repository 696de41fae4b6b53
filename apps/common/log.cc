// The one file that includes spdlog, whose headers compile slowly.
#include "log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/escape.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    const auto colours = has_colours(STDERR_FILENO) ? spdlog::color_mode::always : spdlog::color_mode::never;
    auto made = std::make_shared<spdlog::logger>(
        "lasnet", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colours));
    made->set_pattern("%^%l:%$ %v");
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_level(LogLevel level) {
  logger().set_level(level == LogLevel::error     ? spdlog::level::err
                     : level == LogLevel::warning ? spdlog::level::warn
                                                  : spdlog::level::info);
}

void log_info(const std::string& message) { logger().info("{}", as_message(message)); }
void log_warning(const std::string& message) { logger().warn("{}", as_message(message)); }
void log_error(const std::string& message) { logger().error("{}", as_message(message)); }

}  // namespace lasnet::cli
