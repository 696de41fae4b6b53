// TensorBoard's event files: records of TFRecord's form around protobuf messages of a few fields, both
// written by hand.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace lasnet {

/// CRC-32C (Castagnoli).
uint32_t crc32c(std::string_view bytes);

/// Bytes as a TFRecord file holds them: their number and its checksum before them, theirs behind.
std::string tf_record(std::string_view bytes);

struct Scalar {
  std::string tag;
  double value = 0;
};

class EventFile {
 public:
  /// Begins a new file in `folder`, beside those that are there. Points of these from `step` on count no
  /// more. Throws Error, as the functions below, if it cannot be written.
  EventFile(const std::string& folder, int64_t step);

  void add_scalars(int64_t step, std::span<const Scalar> scalars);
  /// Markdown.
  void add_text(int64_t step, std::string_view tag, std::string_view text);

 private:
  void write(std::string_view event);

  std::string path_;
  std::ofstream file_;
};

}  // namespace lasnet
