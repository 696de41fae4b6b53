// The .safetensors container: 8-byte little-endian header length, a JSON header, raw tensors.
// Format: https://huggingface.co/docs/safetensors (header at most 100 MB, offsets contiguous, no holes).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/file.h"
#include "formats/safetensors_header.h"
#include "formats/weight_file.h"

namespace lasnet {

/// Whether a file that begins like this can be one: a length, and a JSON object.
bool is_safetensors(std::string_view head);

class SafetensorsFile : public WeightFile {
 public:
  /// Reads the header. Throws Error on anything malformed: lengths, JSON, dtypes, shapes, offsets beyond the
  /// file, overlaps, holes.
  explicit SafetensorsFile(ByteSource source);

  std::string origin() const override { return source_.origin(); }
  std::string format() const override { return "safetensors"; }
  const std::map<std::string, StoredTensor>& tensors() const override { return tensors_; }
  std::optional<std::string> metadata() const override;
  Tensor read(const std::string& name) override;
  Array<int8_t> read_int8(const std::string& name) override;

  /// "__metadata__"
  const std::map<std::string, std::string>& all_metadata() const { return header_.metadata; }

 private:
  ByteSource source_;
  uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
  std::map<std::string, StoredTensor> tensors_;
};

struct Safetensors {
  Weights tensors;  ///< F32, F16, BF16, F64 converted to float32; integers skipped
  std::map<std::string, std::string> metadata;             ///< "__metadata__"
  std::map<std::string, Array<int8_t>> int8_tensors = {};  ///< written after the others; not read
};

/// Every tensor of floating point. Throws Error as SafetensorsFile. Nothing larger than the file is ever
/// allocated.
Safetensors read_safetensors(const std::string& path);
Safetensors parse_safetensors(const uint8_t* bytes, size_t size, const std::string& origin);

/// Written atomically, tensors in name order, those of floating point converted to `dtype`.
void write_safetensors(const Safetensors& content, const std::string& path, DType dtype);

}  // namespace lasnet
