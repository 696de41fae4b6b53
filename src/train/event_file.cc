#include "train/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/fail.h"

namespace lasnet {
namespace {

// Numbers of protobuf's fields in tensorflow/core/util/event.proto and framework/summary.proto.
constexpr int kEventTime = 1, kEventStep = 2, kEventVersion = 3, kEventSummary = 5, kEventSession = 7;
constexpr int kSessionStatus = 1, kSessionStart = 1;
constexpr int kSummaryValue = 1;
constexpr int kValueTag = 1, kValueSimple = 2, kValueTensor = 8, kValueMetadata = 9;
constexpr int kMetadataPlugin = 1, kPluginName = 1;
constexpr int kTensorType = 1, kTensorShape = 2, kTensorString = 8, kTypeString = 7;

enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr std::array<uint32_t, 256> crc_table() {
  constexpr uint32_t kPolynomial = 0x82f63b78;
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    table[byte] = value;
  }
  return table;
}

/// TFRecord's checksum.
uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

template <typename T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

/// A message of protobuf, field by field.
class Message {
 public:
  Message& number(int field, uint64_t value) {
    key(field, kVarint);
    varint(value);
    return *this;
  }
  Message& real(int field, double value) {
    key(field, kFixed64);
    bytes_ += little_endian(std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& real(int field, float value) {
    key(field, kFixed32);
    bytes_ += little_endian(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& text(int field, std::string_view value) {
    key(field, kBytes);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return text(field, value.bytes_); }

  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, Wire wire) { varint(static_cast<uint64_t>(field) << 3 | wire); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

Message event_at(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return Message()
      .real(kEventTime, std::chrono::duration<double>(now).count())
      .number(kEventStep, static_cast<uint64_t>(step));
}

/// A name that TensorBoard takes for that of event files, and reads in the order of time.
std::string new_path(const std::string& folder) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  for (int number = 0;; ++number) {
    const std::string path =
        fmt::format("{}/events.out.tfevents.{:010}.lasnet.{}.{}", folder,
                    std::chrono::duration_cast<std::chrono::seconds>(now).count(), getpid(), number);
    if (!std::filesystem::exists(path)) return path;
  }
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string tf_record(std::string_view bytes) {
  const std::string size = little_endian(uint64_t{bytes.size()});
  return size + little_endian(masked_crc(size)) + std::string(bytes) + little_endian(masked_crc(bytes));
}

EventFile::EventFile(const std::string& folder, int64_t step) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail("{}: cannot create the folder: {}", folder, error.message());
  path_ = new_path(folder);
  file_.open(path_, std::ios::binary | std::ios::app);
  write(event_at(0).text(kEventVersion, "brain.Event:2").bytes());
  write(event_at(step).message(kEventSession, Message().number(kSessionStatus, kSessionStart)).bytes());
}

void EventFile::add_scalars(int64_t step, std::span<const Scalar> scalars) {
  Message summary;
  for (const Scalar& scalar : scalars) {
    summary.message(
        kSummaryValue,
        Message().text(kValueTag, scalar.tag).real(kValueSimple, static_cast<float>(scalar.value)));
  }
  write(event_at(step).message(kEventSummary, summary).bytes());
}

void EventFile::add_text(int64_t step, std::string_view tag, std::string_view text) {
  const Message plugin = Message().text(kPluginName, "text");
  const Message tensor =
      Message().number(kTensorType, kTypeString).message(kTensorShape, {}).text(kTensorString, text);
  const Message value = Message()
                            .text(kValueTag, tag)
                            .message(kValueMetadata, Message().message(kMetadataPlugin, plugin))
                            .message(kValueTensor, tensor);
  write(event_at(step).message(kEventSummary, Message().message(kSummaryValue, value)).bytes());
}

void EventFile::write(std::string_view event) {
  file_ << tf_record(event) << std::flush;
  if (!file_) fail("{}: cannot be written: {}; free space, or leave it out", path_, std::strerror(errno));
}

}  // namespace lasnet
