// How results leave a program.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli.h"

namespace lasnet::cli {

using Json = nlohmann::ordered_json;

void add_json_flag(CLI::App& app, bool& json);
/// One object on standard output; bytes that are not UTF-8 are replaced.
void print_json(const Json& json);
/// Text on standard output, escaped but for newlines and emphasis.
void print(const std::string& text);

/// S of a block: a number, 0 in a static one, or "layer".
Json granularity_json(int granularity);
/// Numbers, or "inf" and "-inf", which JSON has no numbers for.
Json thresholds_json(const std::vector<float>& thresholds);

/// Creates the directory and its parents. Throws Error.
void create_directory(const std::string& path);
/// --plot FILE.svg.
void add_plot_option(CLI::App& app, std::string& path, const std::string& help);

}  // namespace lasnet::cli
