// The profiles of hardware/, compiled in: the build writes their definition.
#pragma once

#include <span>
#include <string_view>

namespace lasnet {

struct EmbeddedProfile {
  std::string_view name;  ///< the file's, without .toml
  std::string_view toml;
};

/// Sorted by name.
std::span<const EmbeddedProfile> embedded_profiles();

}  // namespace lasnet
