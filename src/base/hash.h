// FNV-1a of 64 bits (Fowler, Noll, Vo): tells texts apart, and protects from no one.
#pragma once

#include <cstdint>
#include <string_view>

namespace lasnet {

/// Of `text` after what gave `value`.
constexpr uint64_t fnv1a(std::string_view text, uint64_t value = 0xcbf29ce484222325ULL) {
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return value;
}

}  // namespace lasnet
