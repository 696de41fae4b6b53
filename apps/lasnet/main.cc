// lasnet: train, run and see spatially dynamic networks.
#include <fmt/format.h>

#include <exception>

#include "commands.h"
#include "common.h"
#include "log.h"

namespace lasnet::cli {
namespace {

constexpr const char* kDescription =
    "Spatially dynamic networks: each block computes only the patches of the image that need it.\n"
    "Exit codes: 0 success, 1 error, 2 wrong use, 130 interrupted.";

int parse_and_run(int argc, char** argv) {
  CLI::App app(kDescription, "lasnet");
  app.set_version_flag("--version", "lasnet " LASNET_VERSION);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App* wrong, const CLI::Error& error) {
    return fmt::format("error: {}\nSee lasnet{} --help\n", error.what(),
                       wrong->get_parent() != nullptr ? " " + wrong->get_name() : "");
  });
  Action action;
  add_run(app, action);
  add_forward(app, action);
  add_eval(app, action);
  add_train(app, action);
  add_inspect(app, action);
  add_info(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return action();
}

}  // namespace
}  // namespace lasnet::cli

int main(int argc, char** argv) {
  using namespace lasnet::cli;
  try {
    return parse_and_run(argc, argv);
  } catch (const UsageError& error) {
    log_error(error.what());
    return kExitUsage;
  } catch (const std::bad_alloc&) {
    log_error("out of memory: try a smaller batch or a smaller input");
    return kExitError;
  } catch (const std::exception& error) {
    log_error(error.what());
    return kExitError;
  }
}
