// SHA-256, by which a run knows its files again. As `sha256sum` prints it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lasnet {

class Sha256 {
 public:
  Sha256();

  void add(std::span<const uint8_t> bytes);
  void add(std::string_view text);
  /// 64 hexadecimal digits. Ends the computation.
  std::string hex();

 private:
  std::shared_ptr<void> context_;
};

std::string digest_of(std::string_view text);
/// Throws Error if the file cannot be read.
std::string digest_of_file(const std::string& path);

}  // namespace lasnet
