#include "formats/safetensors.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <type_traits>

#include "base/fail.h"
#include "base/file.h"
#include "base/float_formats.h"
#include "formats/metadata.h"

namespace lasnet {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied as they are");

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kLengthBytes = 8;
constexpr const char* kInt8 = "I8";

/// Converts `count` stored values, which may be unaligned, with `to_float`.
template <typename Stored, typename Convert>
void convert(const uint8_t* from, Tensor& to, Convert to_float) {
  for (float& value : to.data) {
    Stored stored;
    std::memcpy(&stored, from, sizeof(Stored));
    value = to_float(stored);
    from += sizeof(Stored);
  }
}

bool is_float(const std::string& dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

Tensor to_tensor(const TensorEntry& entry, const uint8_t* from) {
  Tensor tensor(entry.shape);
  if (entry.dtype == "F16") {
    convert<uint16_t>(from, tensor, f16_to_f32);
  } else if (entry.dtype == "BF16") {
    convert<uint16_t>(from, tensor, bf16_to_f32);
  } else if (entry.dtype == "F64") {
    convert<double>(from, tensor, [](double value) { return static_cast<float>(value); });
  } else {
    convert<float>(from, tensor, [](float value) { return value; });
  }
  return tensor;
}

std::string dtype_name(DType dtype) {
  if (dtype == DType::f16) return "F16";
  return dtype == DType::bf16 ? "BF16" : "F32";
}

/// Converts to 16 bits; a finite value that becomes infinite is refused rather than saved.
std::vector<uint16_t> narrow(const std::string& name, const Tensor& tensor, DType dtype) {
  std::vector<uint16_t> stored(tensor.data.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    float value = tensor.data[i];
    stored[i] = dtype == DType::f16 ? f32_to_f16(value) : f32_to_bf16(value);
    float back = dtype == DType::f16 ? f16_to_f32(stored[i]) : bf16_to_f32(stored[i]);
    if (std::isfinite(value) && !std::isfinite(back)) {
      fail("tensor '{}': {} is too large for {}; store as fp32", name, value, dtype_name(dtype));
    }
  }
  return stored;
}

std::string header_json(const Safetensors& content, DType dtype) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  uint64_t offset = 0;
  uint64_t value_size = dtype == DType::f32 ? 4 : 2;
  for (const auto& [name, tensor] : content.tensors) {
    uint64_t end = offset + tensor.data.size() * value_size;
    header[name] = {{"dtype", dtype_name(dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  for (const auto& [name, tensor] : content.int8_tensors) {
    const uint64_t end = offset + tensor.data.size();
    header[name] = {{"dtype", kInt8}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the tensors
  return text;
}

template <typename T>
void write_values(std::ostream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(T)));
}

}  // namespace

bool is_safetensors(std::string_view head) {
  if (head.size() <= kLengthBytes || head[kLengthBytes] != '{') return false;
  uint64_t length = 0;
  std::memcpy(&length, head.data(), kLengthBytes);
  return length <= kMaxHeader;
}

SafetensorsFile::SafetensorsFile(ByteSource source) : source_(std::move(source)) {
  const uint64_t size = source_.size();
  if (size < kLengthBytes) fail("{}: {} bytes are too few for a safetensors file", origin(), size);
  uint64_t length = 0;
  std::memcpy(&length, source_.read(0, kLengthBytes).data(), kLengthBytes);
  if (length > kMaxHeader || length > size - kLengthBytes) {
    fail("{}: not a safetensors file, or truncated: header of {} bytes in a file of {}", origin(), length,
         size);
  }
  std::vector<uint8_t> json = source_.read(kLengthBytes, length);
  data_begin_ = kLengthBytes + length;
  header_ = parse_safetensors_header({reinterpret_cast<const char*>(json.data()), json.size()},
                                     size - data_begin_, origin());
  for (const auto& [name, entry] : header_.tensors) {
    tensors_[name] = {entry.shape, entry.dtype, is_float(entry.dtype)};
  }
}

std::optional<std::string> SafetensorsFile::metadata() const {
  auto found = header_.metadata.find(kMetadataKey);
  if (found == header_.metadata.end()) return std::nullopt;
  return found->second;
}

Tensor SafetensorsFile::read(const std::string& name) {
  const TensorEntry& entry = header_.tensors.at(name);
  if (!is_float(entry.dtype)) {
    fail("{}: tensor '{}' holds {}, expected floating point", origin(), name, entry.dtype);
  }
  return to_tensor(entry, source_.read(data_begin_ + entry.begin, entry.end - entry.begin).data());
}

Array<int8_t> SafetensorsFile::read_int8(const std::string& name) {
  const TensorEntry& entry = header_.tensors.at(name);
  if (entry.dtype != kInt8) fail("{}: tensor '{}' holds {}, expected {}", origin(), name, entry.dtype, kInt8);
  Array<int8_t> tensor(entry.shape);
  const std::vector<uint8_t> bytes = source_.read(data_begin_ + entry.begin, entry.end - entry.begin);
  if (!bytes.empty()) std::memcpy(tensor.data.data(), bytes.data(), bytes.size());
  return tensor;
}

namespace {

Safetensors read_all(SafetensorsFile file) {
  Safetensors content;
  content.metadata = file.all_metadata();
  for (const auto& [name, tensor] : file.tensors()) {
    if (tensor.is_float) content.tensors.emplace(name, file.read(name));
  }
  return content;
}

}  // namespace

Safetensors parse_safetensors(const uint8_t* bytes, size_t size, const std::string& origin) {
  return read_all(SafetensorsFile(ByteSource::memory({bytes, size}, origin)));
}

Safetensors read_safetensors(const std::string& path) {
  return read_all(SafetensorsFile(ByteSource::open(path)));
}

void write_safetensors(const Safetensors& content, const std::string& path, DType dtype) {
  std::string header = header_json(content, dtype);
  uint64_t length = header.size();
  write_file_atomically(path, [&](std::ostream& out) {
    out.write(reinterpret_cast<const char*>(&length), kLengthBytes);
    out << header;
    for (const auto& [name, tensor] : content.tensors) {
      if (dtype == DType::f32) {
        write_values(out, tensor.data);
      } else {
        write_values(out, narrow(name, tensor, dtype));
      }
    }
    for (const auto& [name, tensor] : content.int8_tensors) write_values(out, tensor.data);
  });
}

}  // namespace lasnet
