#include "image_options.h"

#include <memory>

#include "base/first_time.h"
#include "log.h"

namespace lasnet::cli {

void add_image_options(CLI::App& app, ImageOptions& options) {
  constexpr int kMaxPixels = 1 << 30;
  add_number(app, "--max-pixels", options.max_pixels, 1, kMaxPixels,
             "Refuse images of more pixels than that, before they take memory");
  app.add_flag("--strict-images", options.strict,
               "Refuse damaged JPEG files that can be decoded; else they are used with a warning");
}

DecodeOptions decode_options(const ImageOptions& options) {
  const auto is_new = std::make_shared<FirstTime>();
  return {.max_pixels = options.max_pixels,
          .strict = options.strict,
          .on_warning = [is_new](const std::string& warning) {
            if ((*is_new)(warning)) log_warning(warning);
          }};
}

}  // namespace lasnet::cli
