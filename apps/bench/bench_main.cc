// lasnet-bench, which `lasnet bench` becomes: how fast a network runs dense, sparse and in another library.
#include <fmt/format.h>

#include "bench_run.h"
#include "output.h"
#include "program.h"
#include "progress.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

std::string progress_note(const Measurements& m) {
  std::string note = fmt::format("dense {}  sparse {}  {:.2f}x", format_ms(median(m.dense_ms)),
                                 format_ms(median(m.sparse_ms)), median(ratios(m.dense_ms, m.sparse_ms)));
  if (!m.baseline_ms.empty()) note += fmt::format("  baseline {}", format_ms(median(m.baseline_ms)));
  return note;
}

int run_command(int argc, char** argv) {
  const auto parser = make_parser(
      "lasnet bench", "How fast a network runs: dense, sparse and, on request, in another library");
  CLI::App& app = *parser;
  BenchOptions options;
  add_bench_options(app, options);
  if (const int code = parse(app, argc, argv); code >= 0) return code;
  resolve(options);
  if (!options.sweep.empty()) {
    print(sweep(options));
    return 0;
  }
  Progress progress("bench", options.repeat, "repetitions");
  const BenchReport report = bench(options, [&](const Measurements& m) {
    progress.update(static_cast<int64_t>(m.dense_ms.size()), progress_note(m));
  });
  progress.clear();
  if (options.json) {
    print_json(to_json(report));
  } else {
    print(to_text(report));
  }
  return 0;
}

}  // namespace
}  // namespace lasnet::cli

int main(int argc, char** argv) {
  return lasnet::cli::guarded([&] { return lasnet::cli::run_command(argc, argv); });
}
