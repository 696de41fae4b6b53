// lasnet: train, run and see spatially dynamic networks.
#include <string_view>

#include "commands.h"
#include "lasnet/version.h"
#include "program.h"

namespace lasnet::cli {
namespace {

constexpr const char* kDescription =
    "Spatially dynamic networks: each block computes only the patches of the image that need it.\n"
    "Exit codes: 0 success, 1 error, 2 wrong use, 130 interrupted.";

int run_command(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "train") launch_training(argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "sweep") launch_sweep(argv);
  if (argc > 1 && std::string_view(argv[1]) == "bench") launch_benchmark(argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "report") launch_report(argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "serve") launch_server(argv + 1);
  const auto parser = make_parser("lasnet", kDescription);
  CLI::App& app = *parser;
  app.set_version_flag("--version", "lasnet " LASNET_VERSION);
  Action action;
  add_run(app, action);
  add_forward(app, action);
  add_eval(app, action);
  add_command(app, "train", "Train a dynamic network on an image folder");
  add_command(app, "sweep", "Train a grid of dynamic networks from one static network, and compare them");
  add_command(app, "bench", "Time dense and sparse runs, beside another library's");
  add_command(app, "report", "Measure a model on this machine and write one page about it");
  add_command(app, "serve", "Answer requests over HTTP");
  add_tune(app, action);
  add_quantize(app, action);
  add_convert(app, action);
  add_inspect(app, action);
  add_predict(app, action);
  add_search(app, action);
  add_calibrate(app, action);
  add_validate_predictor(app, action);
  add_info(app, action);
  if (const int code = parse(app, argc, argv); code >= 0) return code;
  if (!action) throw UsageError("no command given; see lasnet --help");
  return action();
}

}  // namespace
}  // namespace lasnet::cli

int main(int argc, char** argv) {
  return lasnet::cli::guarded([&] { return lasnet::cli::run_command(argc, argv); });
}
