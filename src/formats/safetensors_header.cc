#include "formats/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/fail.h"

namespace lasnet {
namespace {

using nlohmann::json;

constexpr size_t kMaxRank = 16;

/// Receives the header's JSON events. It accepts exactly
///   {"__metadata__": {string: string ...}, name: {"dtype": string, "shape": [n ...], "data_offsets": [begin,
///   end]} ...}
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(const std::string& origin) : origin_(origin) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(size_t) override {
    if (level_ == Level::tensor || level_ == Level::array || level_ == Level::metadata)
      unexpected("an object");
    if (level_ == Level::outside) {
      level_ = Level::root;
    } else {
      level_ = name_ == "__metadata__" ? Level::metadata : Level::tensor;
      fields_.clear();
    }
    return true;
  }

  bool key(std::string& text) override {
    if (level_ == Level::root) {
      name_ = std::move(text);
      field_.clear();
      bool fresh = name_ == "__metadata__" ? !std::exchange(has_metadata_, true)
                                           : header_.tensors.try_emplace(name_).second;
      if (!fresh) fail("{}: safetensors header: '{}' appears twice", origin_, name_);
    } else {
      field_ = std::move(text);
      bool known =
          level_ == Level::metadata || field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
      if (!known) fail("{}: safetensors header: '{}' has an unknown key '{}'", origin_, name_, field_);
      bool fresh = level_ == Level::metadata ? header_.metadata.try_emplace(field_).second
                                             : fields_.insert(field_).second;
      if (!fresh) fail("{}: safetensors header: '{}' of '{}' appears twice", origin_, field_, name_);
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::tensor && fields_.size() != 3) {
      fail("{}: safetensors header: '{}' lacks dtype, shape or data_offsets", origin_, name_);
    }
    level_ = level_ == Level::root ? Level::outside : Level::root;
    return true;
  }

  bool start_array(size_t) override {
    if (level_ != Level::tensor || field_ == "dtype") unexpected("an array");
    level_ = Level::array;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    level_ = Level::tensor;
    TensorEntry& entry = header_.tensors[name_];
    if (field_ == "shape") {
      entry.shape = numbers_;
    } else if (numbers_.size() == 2) {
      entry.begin = static_cast<uint64_t>(numbers_[0]);
      entry.end = static_cast<uint64_t>(numbers_[1]);
    } else {
      fail("{}: safetensors header: data_offsets of '{}' is not a pair", origin_, name_);
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::array) unexpected("a number");
    if (numbers_.size() == kMaxRank || value > std::numeric_limits<int64_t>::max())
      unexpected("an absurd size");
    numbers_.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(std::string& text) override {
    if (level_ == Level::metadata) {
      header_.metadata[field_] = std::move(text);
    } else if (level_ == Level::tensor && field_ == "dtype") {
      header_.tensors[name_].dtype = std::move(text);
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const std::string&) override { unexpected("a fraction"); }
  bool binary(json::binary_t&) override { unexpected("binary data"); }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("{}: safetensors header: not valid JSON at byte {}", origin_, position);
  }

 private:
  enum class Level { outside, root, metadata, tensor, array };

  [[noreturn]] void unexpected(const char* what) const {
    fail("{}: safetensors header: unexpected {} in '{}' {}", origin_, what, name_, field_);
  }

  const std::string& origin_;
  SafetensorsHeader header_;
  Level level_ = Level::outside;
  bool has_metadata_ = false;
  std::string name_;
  std::string field_;
  std::set<std::string> fields_;
  std::vector<int64_t> numbers_;
};

void check_length(const std::string& name, const TensorEntry& entry, const std::string& origin) {
  uint64_t bits = dtype_bits(entry.dtype, origin, name);
  for (int64_t dim : entry.shape) {
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits)) {
      fail("{}: tensor '{}': shape {} does not fit 64 bits", origin, name, to_string(entry.shape));
    }
  }
  const uint64_t bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    fail("{}: tensor '{}': {} {} needs {} bytes, data_offsets are [{}, {}]", origin, name, entry.dtype,
         to_string(entry.shape), bytes, entry.begin, entry.end);
  }
}

void check_coverage(const SafetensorsHeader& header, uint64_t data_size, const std::string& origin) {
  std::vector<std::tuple<uint64_t, uint64_t, const std::string*>> ranges;
  for (const auto& [name, entry] : header.tensors) ranges.emplace_back(entry.begin, entry.end, &name);
  std::sort(ranges.begin(), ranges.end());
  uint64_t covered = 0;
  for (const auto& [begin, end, name] : ranges) {
    if (begin != covered) {
      fail("{}: tensor '{}' begins at byte {}, expected {} (a hole or an overlap)", origin, *name, begin,
           covered);
    }
    covered = end;
  }
  if (covered != data_size) {
    fail("{}: the header describes {} bytes of tensors, the file holds {}{}", origin, covered, data_size,
         covered > data_size ? " (truncated)" : "");
  }
}

}  // namespace

uint64_t dtype_bits(const std::string& dtype, const std::string& origin, const std::string& tensor) {
  static const std::map<std::string, uint64_t> kBits = {
      {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},        {"U8", 8},          {"I8", 8},
      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
      {"C64", 64},    {"I64", 64},    {"U64", 64},    {"F64", 64}};
  auto found = kBits.find(dtype);
  if (found == kBits.end()) {
    fail("{}: tensor '{}': unknown dtype '{}', expected F32, F16, BF16, F64 or an integer", origin, tensor,
         dtype);
  }
  return found->second;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_size,
                                           const std::string& origin) {
  if (!text.starts_with('{')) fail("{}: safetensors header: not a JSON object", origin);
  HeaderReader reader(origin);
  json::sax_parse(text, &reader);
  SafetensorsHeader header = reader.take();
  for (const auto& [name, entry] : header.tensors) check_length(name, entry, origin);
  check_coverage(header, data_size, origin);
  return header;
}

}  // namespace lasnet
