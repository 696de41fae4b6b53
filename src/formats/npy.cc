// Layout: magic "\x93NUMPY", version (2 bytes), header length (2 bytes in version 1, else 4, little-endian),
// a Python dict literal {'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)} padded to 64 bytes, raw
// values.
#include "formats/npy.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/fail.h"
#include "base/file.h"

namespace lasnet {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied as they are");

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kAlignment = 64;

struct Header {
  std::string descr;
  bool fortran_order = false;
  Shape shape;
};

/// Reads the dict literal, which has only strings, booleans and tuples of integers.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  Header parse() {
    expect('{');
    while (!accept('}')) {
      std::string key = string_literal();
      expect(':');
      if (key == "descr" && !descr_) {
        descr_ = string_literal();
      } else if (key == "fortran_order" && !fortran_order_) {
        fortran_order_ = boolean();
      } else if (key == "shape" && !shape_) {
        shape_ = tuple();
      } else {
        malformed(fmt::format("unknown or repeated key '{}'", key));
      }
      if (!accept(',') && peek() != '}') malformed("expected ',' or '}'");
    }
    if (peek() != '\0') malformed("text after the dictionary");
    if (!descr_ || !fortran_order_ || !shape_) malformed("descr, fortran_order or shape is missing");
    return {*descr_, *fortran_order_, *shape_};
  }

 private:
  [[noreturn]] void malformed(const std::string& what) const {
    fail("{}: malformed .npy header: {}", origin_, what);
  }

  /// The next character that is not blank; '\0' at the end.
  char peek() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
    return text_.empty() ? '\0' : text_.front();
  }

  bool accept(char c) {
    if (peek() != c || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!accept(c)) malformed(fmt::format("expected '{}'", c));
  }

  std::string string_literal() {
    char quote = peek();
    if (quote != '\'' && quote != '"') malformed("expected a plain string (structured dtypes are not read)");
    size_t end = text_.find(quote, 1);
    if (end == std::string_view::npos) malformed("unterminated string");
    std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }

  bool boolean() {
    peek();
    for (auto [word, value] : {std::pair{"True", true}, std::pair{"False", false}}) {
      if (!text_.starts_with(word)) continue;
      text_.remove_prefix(std::strlen(word));
      return value;
    }
    malformed("fortran_order is neither True nor False");
  }

  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(integer());
      if (!accept(',') && peek() != ')') malformed("expected ',' or ')' in shape");
    }
    return shape;
  }

  int64_t integer() {
    peek();
    int64_t value = 0;
    auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0) malformed("shape is not a tuple of sizes");
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    return value;
  }

  std::string_view text_;
  const std::string& origin_;
  std::optional<std::string> descr_;
  std::optional<bool> fortran_order_;
  std::optional<Shape> shape_;
};

/// Splits the file into header text and values.
std::pair<std::string_view, std::string_view> split(std::string_view file, const std::string& origin) {
  if (!file.starts_with(kMagic)) fail("{}: not a .npy file", origin);
  if (file.size() < 12) fail("{}: truncated .npy header", origin);
  auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(file[i])); };
  size_t version = byte(6);
  if (version < 1 || version > 3) fail("{}: .npy version {}, expected 1 to 3", origin, version);
  size_t start = version == 1 ? 10 : 12;
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > file.size() - start) fail("{}: truncated .npy header", origin);
  return {file.substr(start, length), file.substr(start + length)};
}

int64_t count_of(const Shape& shape, const std::string& origin) try {
  return element_count(shape);
} catch (const Error& error) {
  fail("{}: {}", origin, error.what());
}

template <typename T>
Array<T> parse(const uint8_t* bytes, size_t size, const std::string& origin, std::string_view expected) {
  auto [text, values] = split({reinterpret_cast<const char*>(bytes), size}, origin);
  Header header = HeaderParser(text, origin).parse();
  bool matches = header.descr == expected || (expected == "|u1" && header.descr == "|b1");
  if (!matches) {
    fail("{}: dtype '{}', expected '{}' (numpy.{})", origin, header.descr, expected,
         expected == "|u1" ? "uint8 or bool" : "float32");
  }
  if (header.fortran_order) fail("{}: Fortran order, expected C order (numpy.ascontiguousarray)", origin);
  int64_t count = count_of(header.shape, origin);
  // Compared by division: count * sizeof(T) may overflow. Checked before anything of that size is allocated.
  if (values.size() % sizeof(T) != 0 || values.size() / sizeof(T) != static_cast<size_t>(count)) {
    fail("{}: shape {} of '{}' does not agree with {} bytes of values", origin, to_string(header.shape),
         header.descr, values.size());
  }
  Array<T> array(header.shape);
  if (!values.empty()) std::memcpy(array.data.data(), values.data(), values.size());
  return array;
}

template <typename T>
void save(const Array<T>& array, const std::string& path, std::string_view descr) {
  if (element_count(array.shape) != array.size()) {
    fail("{}: shape {} does not agree with {} values", path, to_string(array.shape), array.size());
  }
  std::string shape = fmt::format("({}{})", fmt::join(array.shape, ", "), array.shape.size() == 1 ? "," : "");
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", descr, shape);
  constexpr size_t kPrefix = kMagic.size() + 4;
  header.append(kAlignment - (kPrefix + header.size() + 1) % kAlignment, ' ').push_back('\n');
  if (header.size() > UINT16_MAX) fail("{}: a shape of {} dimensions", path, array.shape.size());
  const char prefix[] = {1, 0, static_cast<char>(header.size() & 0xff),
                         static_cast<char>(header.size() >> 8)};
  write_file_atomically(path, [&](std::ostream& out) {
    out << kMagic;
    out.write(prefix, sizeof(prefix));
    out << header;
    out.write(reinterpret_cast<const char*>(array.data.data()),
              static_cast<std::streamsize>(array.data.size() * sizeof(T)));
  });
}

}  // namespace

Tensor parse_npy_f32(const uint8_t* bytes, size_t size, const std::string& origin) {
  return parse<float>(bytes, size, origin, "<f4");
}

ByteTensor parse_npy_u8(const uint8_t* bytes, size_t size, const std::string& origin) {
  return parse<uint8_t>(bytes, size, origin, "|u1");
}

Tensor load_npy_f32(const std::string& path) {
  std::vector<uint8_t> bytes = read_file(path);
  return parse_npy_f32(bytes.data(), bytes.size(), path);
}

ByteTensor load_npy_u8(const std::string& path) {
  std::vector<uint8_t> bytes = read_file(path);
  return parse_npy_u8(bytes.data(), bytes.size(), path);
}

void save_npy(const Tensor& array, const std::string& path) { save(array, path, "<f4"); }

void save_npy(const ByteTensor& array, const std::string& path) { save(array, path, "|u1"); }

}  // namespace lasnet
