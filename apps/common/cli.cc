#include "cli.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace lasnet::cli {

std::unique_ptr<CLI::App> make_parser(const std::string& name, const std::string& description) {
  return std::make_unique<CLI::App>(description, name);
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description) {
  return app.add_subcommand(name, description);
}

}  // namespace lasnet::cli
