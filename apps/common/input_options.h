// What a run is given: sizes of photographs, masks.
#pragma once

#include <optional>
#include <string>

#include "cli.h"
#include "lasnet/engine.h"
#include "lasnet/model.h"

namespace lasnet::cli {
/// How photographs become inputs of another size than the model's own.
struct InputOptions {
  int size = 0;          ///< crop in px, the resize in proportion; 0: the model's
  bool no_crop = false;  ///< keep the whole photograph, at its aspect ratio
};
void add_input_options(CLI::App& app, InputOptions& options);
Preprocessing apply(const InputOptions& options, Preprocessing preprocessing);
/// Of the network's input; nothing where photographs are not cropped.
std::optional<MapSize> cropped_size(const Preprocessing& preprocessing);

/// Every <block>.npy of the folder that `lasnet forward --masks` wrote. `option` names it in errors.
MaskSet load_masks(const std::string& dir, const std::string& option);
/// A side in px or HEIGHTxWIDTH. Throws Error.
MapSize parse_size(const std::string& text);

}  // namespace lasnet::cli
