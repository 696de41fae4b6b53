// lasnet-report, which `lasnet report` becomes: measures a model on this machine and writes one page about
// it.
#include <cmath>
#include <filesystem>
#include <ostream>

#include "base/fail.h"
#include "base/file.h"
#include "base/stopwatch.h"
#include "base/text.h"
#include "figures.h"
#include "log.h"
#include "page.h"
#include "part_store.h"
#include "parts.h"
#include "program.h"
#include "progress.h"
#include "tables.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

std::string path_in(const ReportOptions& options, const std::string& name) {
  return (fs::path(options.output) / name).string();
}

/// The command line that makes the same report again.
std::string command_of(const ReportOptions& options) {
  std::string line =
      fmt::format("lasnet report {} --images {}", shell_quoted(options.model), shell_quoted(options.images));
  line += fmt::format(" --hardware {}", shell_quoted(fmt::format("{}", fmt::join(options.hardware, ","))));
  if (options.effort == Effort::quick) line += " --quick";
  if (options.effort == Effort::full) line += " --full";
  if (!options.peers.empty())
    line += fmt::format(" --peers {}", shell_quoted(fmt::format("{}", fmt::join(options.peers, ","))));
  if (options.threads > 0) line += fmt::format(" --threads {}", options.threads);
  if (!options.sweep.empty()) line += fmt::format(" --sweep {}", shell_quoted(options.sweep));
  return line + " -o OUT";
}

double expected_seconds(const Part& part, Effort effort) {
  constexpr double kFull = 2.8;  // of the usual effort's time
  if (effort == Effort::quick) return part.quick_s;
  return effort == Effort::full ? kFull * part.usual_s : part.usual_s;
}

/// Measures the parts that the store does not have.
void measure_parts(const Setup& setup, const PartStore& store, Report& report) {
  constexpr double kSteps = 1000;
  double total = 0, done = 0, begun = 0;
  std::vector<const Part*> missing;
  for (const Part& part : parts()) {
    const double expected = expected_seconds(part, setup.options.effort);
    total += expected;
    auto stored = setup.options.resume ? store.find(part.name) : std::nullopt;
    if (!stored) {
      missing.push_back(&part);
      continue;
    }
    begun += expected;
    report.documents[part.name] = std::move(stored->data);
    report.seconds[part.name] = stored->seconds;
  }
  if (setup.options.resume)
    log_info(fmt::format("{}: {} of {} parts are kept", setup.options.output, parts().size() - missing.size(),
                         parts().size()));
  done = begun;
  Progress progress("report", std::lround(kSteps), "steps", std::lround(kSteps * begun / total));
  for (const Part* part : missing) {
    const double expected = expected_seconds(*part, setup.options.effort);
    Stopwatch watch;
    Json data = part->measure(setup, [&](double share, const std::string& now) {
      progress.update(std::lround(kSteps * (done + std::min(1.0, share) * expected) / total),
                      part->title + (": " + now));
    });
    done += expected;
    StoredPart stored{.seconds = watch.seconds(), .data = std::move(data)};
    store.put(part->name, stored);
    report.documents[part->name] = std::move(stored.data);
    report.seconds[part->name] = stored.seconds;
  }
  progress.clear();
}

void write_text(const std::string& path, const std::string& text) {
  write_file_atomically(path, [&](std::ostream& out) { out << text; });
}

void write_report(const ReportOptions& options, const Report& report) {
  create_directory(path_in(options, "figures"));
  for (const Part& part : parts()) {
    const Json& data = report.documents.at(part.name);
    for (const DataTable& table : tables_of(part.name, data))
      write_text(path_in(options, "data/" + table.name + ".csv"), to_csv(table));
    for (const Figure& figure : figures_of(part.name, data))
      write_svg(figure.plots, {.title = figure.title}, path_in(options, "figures/" + figure.name + ".svg"));
  }
  write_text(path_in(options, "index.html"), page_of(report));
}

Json all_json(const Report& report) {
  Json json = {{"model", report.model},
               {"command", report.command},
               {"page", (fs::path(report.output) / "index.html").string()}};
  for (const Part& part : parts()) {
    json[part.name] = report.documents.at(part.name);
    json["seconds"][part.name] = report.seconds.at(part.name);
  }
  return json;
}

std::string summary(const Report& report) {
  const Json& speed = report.documents.at("speed")["runs"][0];
  const Json& errors = report.documents.at("prediction")["errors"];
  std::string text = fmt::format("{}\n\n", bold(report.model));
  const auto line = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12}{}\n", what, value);
  };
  line("speed-up", fmt::format("{:.2f}x over dense, {} of the MACs", speed["speedup"]["median"].get<double>(),
                               format_percent(speed["macs_ratio"].get<double>())));
  if (!speed["baseline"].is_null()) {
    line("", fmt::format("{:.2f}x over {}", speed["baseline"]["speedup"]["median"].get<double>(),
                         speed["baseline"]["name"].get<std::string>()));
  }
  line("prediction", fmt::format("{} mean error, {} within 10 %, regret of S {}",
                                 format_percent(errors["mape"].get<double>()),
                                 format_percent(errors["within_10"].get<double>()),
                                 format_percent(errors["regret_mean"].get<double>())));
  double seconds = 0;
  for (const auto& [part, took] : report.seconds) seconds += took;
  line("measured in", format_duration(seconds));
  line("page", (fs::path(report.output) / "index.html").string());
  return text;
}

int run_command(int argc, char** argv) {
  const auto parser =
      make_parser("lasnet report", "Measure a model on this machine and write one page about it");
  CLI::App& app = *parser;
  ReportOptions options;
  add_report_options(app, options);
  if (const int code = parse(app, argc, argv); code >= 0) return code;
  const Setup setup = prepare(options);
  create_directory(options.output);
  const FolderLock lock(options.output, "another lasnet report is writing there");
  check_writable(path_in(options, "index.html"));
  Report report{.model = options.model,
                .command = command_of(options),
                .output = options.output,
                .documents = {},
                .seconds = {}};
  measure_parts(setup, PartStore(options.output, setup.key), report);
  if (!setup.peers.empty()) report.documents["speed"]["peers"] = setup.peers;
  if (!setup.sweep.is_null()) report.documents["ablations"]["sweep"] = setup.sweep;
  write_report(options, report);
  if (options.json) {
    print_json(all_json(report));
  } else {
    print(summary(report));
  }
  return 0;
}

}  // namespace
}  // namespace lasnet::cli

int main(int argc, char** argv) {
  return lasnet::cli::guarded([&] { return lasnet::cli::run_command(argc, argv); });
}
