// Binary data inside JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lasnet::cli {

/// RFC 4648 with padding, without line breaks.
std::string to_base64(std::string_view bytes);
/// Nothing where `text` is not that.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace lasnet::cli
