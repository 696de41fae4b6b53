// Tar archives for tests, header by header.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace lasnet::test {

/// A member of the ustar form, padded. `claimed`: the size that its header says.
inline std::string tar_member(const std::string& name, const std::string& content, char type = '0',
                              int64_t claimed = -1) {
  std::string header(512, '\0');
  const auto put = [&](size_t offset, const std::string& text) { header.replace(offset, text.size(), text); };
  char digits[16];
  put(0, name.substr(0, 100));
  put(100, "0000644");
  std::snprintf(
      digits, sizeof digits, "%011llo",
      static_cast<unsigned long long>(claimed < 0 ? static_cast<int64_t>(content.size()) : claimed));
  put(124, digits);
  put(148, std::string(8, ' '));
  header[156] = type;
  put(257, std::string("ustar\0"
                       "00",
                       8));
  unsigned sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  std::snprintf(digits, sizeof digits, "%06o", sum);
  put(148, std::string(digits) + std::string("\0 ", 2));
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

inline const std::string kTarEnd(1024, '\0');

}  // namespace lasnet::test
