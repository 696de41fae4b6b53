// How commands read image files.
#pragma once

#include "cli.h"
#include "lasnet/image.h"

namespace lasnet::cli {

struct ImageOptions {
  int max_pixels = kDefaultMaxPixels;
  bool strict = false;
};

/// --max-pixels and --strict-images.
void add_image_options(CLI::App& app, ImageOptions& options);

/// Warnings go to the log, each once, however often a file is read.
DecodeOptions decode_options(const ImageOptions& options);

}  // namespace lasnet::cli
