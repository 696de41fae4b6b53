// The bytes of a pickle, and errors that say where in them.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/fail.h"
#include "formats/pytorch/pickle_value.h"
#include "formats/pytorch/python_advice.h"

namespace lasnet {

class PickleReader {
 public:
  PickleReader(std::span<const uint8_t> bytes, const std::string& origin) : bytes_(bytes), origin_(origin) {}

  const std::string& origin() const { return origin_; }
  size_t left() const { return bytes_.size() - next_; }

  uint8_t opcode() {
    at_ = next_;
    return number<uint8_t>();
  }

  std::string_view text(size_t size) {
    if (size > left()) broken(fmt::format("{} bytes are needed, {} are left", size, left()));
    std::string_view result(reinterpret_cast<const char*>(bytes_.data()) + next_, size);
    next_ += size;
    return result;
  }

  /// Bytes after their length, a T.
  template <typename T>
  std::string counted_text() {
    return std::string(text(number<T>()));
  }

  /// A little-endian number.
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, text(sizeof(T)).data(), sizeof(T));
    return value;
  }

  /// A big-endian double.
  double real() { return std::bit_cast<double>(__builtin_bswap64(number<uint64_t>())); }

  /// Little-endian two's complement after its length, a T; beyond 64 bits (a random seed, say) the nearest
  /// double.
  template <typename T>
  PickleValue long_integer() {
    std::string digits = counted_text<T>();
    bool negative = !digits.empty() && (digits.back() & 0x80) != 0;
    if (digits.size() <= sizeof(int64_t)) {
      int64_t value = negative ? -1 : 0;
      std::memcpy(&value, digits.data(), digits.size());
      return value;
    }
    double value = 0;
    for (size_t i = digits.size(); i-- > 0;) value = value * 256 + static_cast<uint8_t>(digits[i]);
    return negative ? value - std::ldexp(1.0, static_cast<int>(8 * digits.size())) : value;
  }

  /// Up to the newline, which is skipped.
  std::string_view line() {
    constexpr size_t kMaxLine = 256;
    std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + next_, left());
    size_t size = rest.substr(0, kMaxLine).find('\n');
    if (size == std::string_view::npos) broken("the name of a global does not end");
    next_ += size + 1;
    return rest.substr(0, size);
  }

  [[noreturn]] void refuse(const std::string& what) const {
    fail("{}: refused: at byte {}, its pickle {}, which weights do not need. Nothing was executed. {}",
         origin_, at_, what, save_weights_alone(origin_));
  }

  [[noreturn]] void refuse_attack(const std::string& global) const {
    fail(
        "{}: refused: at byte {}, its pickle names the global '{}', which can act on the machine where "
        "Python loads the file. Nothing was executed. Do not load it elsewhere: no weights need this",
        origin_, at_, global);
  }

  [[noreturn]] void broken(const std::string& what) const {
    fail("{}: broken pickle at byte {}: {}", origin_, at_, what);
  }

  [[noreturn]] void too_many(const char* what, size_t limit) const {
    fail("{}: refused: its pickle has more than {} {}. Nothing was executed. {}", origin_, limit, what,
         save_weights_alone(origin_));
  }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& origin_;
  size_t next_ = 0;  ///< the byte to read
  size_t at_ = 0;    ///< the opcode at work
};

}  // namespace lasnet
