// Pictures small enough for a page.
#pragma once

#include <string>

#include "lasnet/image.h"

namespace lasnet::cli {

/// The bytes of a baseline JPEG file of this quality, 1 to 100. Throws Error on an empty image.
std::string encode_jpeg(const Image& image, int quality);

}  // namespace lasnet::cli
