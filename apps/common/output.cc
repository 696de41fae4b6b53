#include "output.h"

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "base/escape.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"
#include "lasnet/model.h"
#include "terminal.h"

namespace lasnet::cli {
void add_json_flag(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object on standard output and nothing else there");
}

namespace {

void write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error("standard output cannot be written: is the disk full or the pipe closed?");
  }
}

}  // namespace

void print_json(const Json& json) {
  write_out(escaped_json(json.dump(2, ' ', false, Json::error_handler_t::replace)) + "\n");
}

Json granularity_json(int granularity) {
  return granularity == kWholeMapGranularity ? Json(patch_side_to_string(granularity)) : Json(granularity);
}

Json thresholds_json(const std::vector<float>& thresholds) {
  Json list = Json::array();
  for (const float threshold : thresholds)
    list.push_back(std::isfinite(threshold) ? Json(shortest_decimal(threshold))
                                            : Json(threshold > 0 ? "inf" : "-inf"));
  return list;
}

void print(const std::string& text) { write_out(safe_to_print(text)); }

void create_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!std::filesystem::is_directory(path)) {
    fail("{}: cannot create this directory: {}", path, error ? error.message() : "a file is in the way");
  }
}

void add_plot_option(CLI::App& app, std::string& path, const std::string& help) {
  const auto is_svg = [](const std::string& text) -> std::string {
    if (std::filesystem::path(text).extension() == ".svg") return "";
    return fmt::format("'{}': plots are written as SVG; expected a name that ends in .svg", text);
  };
  app.add_option("--plot", path, help)->check(CLI::Validator(is_svg, ""))->type_name("FILE.svg");
}

}  // namespace lasnet::cli
