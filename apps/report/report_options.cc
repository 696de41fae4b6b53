#include "report_options.h"

#include <filesystem>

#include "base/numbers.h"
#include "lasnet/executor.h"
#include "output.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(What is written
  OUT/index.html        the page: it asks for nothing from anywhere, and can be sent to others as one file
  OUT/data/*.csv, json  the numbers behind each figure; the page shows the same ones
  OUT/figures/*.svg     the plots
  OUT/pictures/*.jpg    the photographs
  The page is written last, and whole. What has been measured before an interruption is kept in OUT/data:
  --resume goes on there, if model, photographs, options, machine and version are the same.

Labels
  Where the photographs lie in folders named like the model's classes, accuracy is measured on them.
  Else the page shows what the model file records of its accuracy, and says so.

How long
  On two cores --quick takes about a minute for the demo model, the default two, --full five. Nothing else
  should run meanwhile.

Examples
  lasnet report -o report
  lasnet report birds.safetensors --images photos/val --full -o birds-report --resume)";

/// A file of the source tree or of the installed package, which lies beside this program's folder; "" if
/// there is none.
std::string shipped(const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& path : {folder / ".." / name, folder / ".." / "share" / "lasnet" / name}) {
    if (!fs::exists(path, error)) continue;
    const fs::path near = fs::proximate(path, error);
    return error ? path.string() : near.string();
  }
  return "";
}

}  // namespace

void add_report_options(CLI::App& app, ReportOptions& options) {
  options.model = shipped("models/demo.safetensors");
  options.images = shipped("samples");
  const auto model = app.add_option("MODEL", options.model, "A model file; default: the demo model");
  const auto images = app.add_option("--images", options.images,
                                     "Folder of photographs, at any depth; default: the sample photographs")
                          ->type_name("DIR");
  if (options.model.empty()) model->required();
  if (options.images.empty()) images->required();
  add_parsed(app, "--hardware",
             "Hardware that predictions are made for, with commas between; default v100,rtx3090,tx2,nano",
             [&](const std::string& text) {
               options.hardware.clear();
               for (const std::string_view name : split(text, ',')) options.hardware.emplace_back(name);
             })
      ->type_name("NAME,...");
  app.add_option(
         "--peers", options.peers,
         "What bench/peers/compare.py --json wrote about this model, with commas between: other engines' "
         "times, shown with their date")
      ->delimiter(',')
      ->type_name("FILE,...");
  const auto quick = app.add_flag_callback(
      "--quick", [&] { options.effort = Effort::quick; }, "Measure less often");
  app.add_flag_callback(
         "--full", [&] { options.effort = Effort::full; }, "Measure more often")
      ->excludes(quick);
  add_number(app, "--threads", options.threads, 1, 1024,
             "The most threads that are measured; default: one per core")
      ->default_str("");
  app.add_option("--sweep", options.sweep,
                 "The sweep.json of a `lasnet sweep`: accuracy over S, shown as recorded with its source")
      ->type_name("FILE");
  app.add_option("-o,--output", options.output, "Folder of the report")->type_name("OUT")->required();
  app.add_flag("--resume", options.resume, "Keep the parts that an interrupted report has measured");
  add_json_flag(app, options.json);
  app.footer(kFooter);
}

}  // namespace lasnet::cli
