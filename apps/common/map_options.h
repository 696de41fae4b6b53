// Which maps inside a network a command returns beside the logits.
#pragma once

#include <string>
#include <vector>

#include "cli.h"
#include "lasnet/engine.h"

namespace lasnet::cli {

struct MapOptions {
  std::vector<std::string> names;  ///< empty: all
  MapLayout layout = MapLayout::nchw;
};
/// Options that need the command's --features.
void add_map_options(CLI::App& app, MapOptions& options);
/// The names, those of all maps where the options name none. Throws UsageError on one that the network does
/// not have.
std::vector<std::string> chosen_maps(const MapOptions& options, const ModelSpec& spec);

}  // namespace lasnet::cli
