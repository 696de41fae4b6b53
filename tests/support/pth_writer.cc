#include "support/pth_writer.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cstring>
#include <initializer_list>
#include <string_view>

namespace lasnet::test {
namespace {

template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string result;
  for (std::string_view part : parts) result += part;
  return result;
}

/// Products of hostile shapes wrap around.
int64_t wrapping_product(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

std::vector<int64_t> contiguous_strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = wrapping_product(strides[i], shape[i]);
  return strides;
}

uint32_t crc_of(const std::string& bytes) {
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  return static_cast<uint32_t>(crc32(crc32(0, nullptr, 0), data, static_cast<uInt>(bytes.size())));
}

/// Version, flags, method, time, date, CRC, sizes: what both headers share.
std::string common_fields(const ZipItem& item, uint32_t size) {
  return joined({little_endian<uint16_t>(20), little_endian(item.flags), little_endian(item.method),
                 std::string(4, '\0'), little_endian(item.crc.value_or(crc_of(item.bytes))),
                 little_endian(size), little_endian(size)});
}

std::string local_record(const ZipItem& item) {
  const std::string name = item.local_name.value_or(item.name);
  const auto size = static_cast<uint32_t>(item.bytes.size());
  return joined({"PK\x03\x04", common_fields(item, item.local_size.value_or(item.size.value_or(size))),
                 little_endian(static_cast<uint16_t>(name.size())), little_endian<uint16_t>(0), name,
                 item.bytes});
}

std::string directory_record(const ZipItem& item, uint32_t begin) {
  uint32_t size = item.size.value_or(static_cast<uint32_t>(item.bytes.size()));
  std::string extra;
  if (item.wide_size) {
    size = UINT32_MAX;
    extra = joined({little_endian<uint16_t>(1), little_endian<uint16_t>(16), little_endian(*item.wide_size),
                    little_endian(*item.wide_size)});
  }
  return joined({"PK\x01\x02", little_endian<uint16_t>(20), common_fields(item, size),
                 little_endian(static_cast<uint16_t>(item.name.size())),
                 little_endian(static_cast<uint16_t>(extra.size())), std::string(2 + 2 + 2 + 4, '\0'),
                 little_endian(begin), item.name, extra});
}

std::string zip64_end(uint64_t entries, uint64_t begin, uint64_t size, uint64_t at) {
  return joined({"PK\x06\x06", little_endian<uint64_t>(44), std::string(12, '\0'), little_endian(entries),
                 little_endian(entries), little_endian(size), little_endian(begin), "PK\x06\x07",
                 little_endian<uint32_t>(0), little_endian(at), little_endian<uint32_t>(1)});
}

}  // namespace

std::string opcodes_of(const std::string& text) {
  return joined({"X", little_endian(static_cast<uint32_t>(text.size())), text});
}

std::string opcodes_of_property(const std::string& key) { return "}" + opcodes_of(key) + "\x88s"; }

Pickle& Pickle::raw(const std::string& bytes) {
  bytes_ += bytes;
  return *this;
}

Pickle& Pickle::global(const std::string& module, const std::string& name) {
  return raw(joined({"c", module, "\n", name, "\n"}));
}

Pickle& Pickle::text(const std::string& value) { return raw(opcodes_of(value)); }

Pickle& Pickle::integer(int64_t value) { return raw(joined({"\x8a\x08", little_endian(value)})); }

Pickle& Pickle::integers(const std::vector<int64_t>& values) {
  raw("(");
  for (int64_t value : values) integer(value);
  return raw("t");
}

Pickle& Pickle::tensor(const PickledTensor& tensor) {
  global("torch._utils", "_rebuild_tensor_v2").raw("((");
  text("storage").global("torch", tensor.storage).text(tensor.key).text("cpu");
  int64_t elements = 1;
  for (int64_t size : tensor.shape) elements = wrapping_product(elements, size);
  integer(tensor.count.value_or(elements)).raw("tQ");
  integer(tensor.offset).integers(tensor.shape);
  integers(tensor.strides.value_or(contiguous_strides(tensor.shape)));
  return raw("\x89").global("collections", "OrderedDict").raw(")R" + tensor.more + "tR");
}

Pickle& Pickle::entries(const Weights& weights, const std::string& prefix) {
  int key = 0;
  for (const auto& [name, tensor] : weights) {
    text(prefix + name).tensor({.key = std::to_string(key++), .shape = tensor.shape});
  }
  return *this;
}

std::string make_zip(const std::vector<ZipItem>& items, const ZipEnd& end) {
  std::string archive, directory;
  for (const ZipItem& item : items) {
    directory += directory_record(item, static_cast<uint32_t>(archive.size()));
    archive += local_record(item);
  }
  const auto begin = end.directory_begin.value_or(static_cast<uint32_t>(archive.size()));
  const auto count = end.entries.value_or(static_cast<uint16_t>(items.size()));
  const auto size = static_cast<uint32_t>(directory.size());
  archive += directory;
  if (end.zip64) archive += zip64_end(count, begin, size, archive.size());
  return joined({archive, "PK\x05\x06", std::string(4, '\0'), little_endian(count), little_endian(count),
                 little_endian(size), little_endian(begin), std::string(2, '\0')});
}

std::vector<ZipItem> checkpoint_items(const std::string& pickle, const Weights& weights) {
  std::vector<ZipItem> items = {{.name = "archive/data.pkl", .bytes = pickle}};
  int key = 0;
  for (const auto& [name, tensor] : weights) {
    std::string bytes(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size() * sizeof(float));
    items.push_back({.name = "archive/data/" + std::to_string(key++), .bytes = std::move(bytes)});
  }
  items.push_back({.name = "archive/version", .bytes = "3\n"});
  return items;
}

std::string state_dict_pickle(const Weights& weights) {
  return Pickle().raw("}(").entries(weights).raw("u").done();
}

std::string make_checkpoint(const std::vector<std::pair<std::string, Weights>>& state_dicts) {
  Weights stored;
  Pickle pickle;
  pickle.raw("}(");
  int key = 0;
  for (const auto& [keys, weights] : state_dicts) {
    pickle.text(keys).raw("}(");
    for (const auto& [name, tensor] : weights) {
      stored[fmt::format("{:05}", key)] = tensor;
      pickle.text(name).tensor({.key = std::to_string(key++), .shape = tensor.shape});
    }
    pickle.raw("u");
  }
  return make_zip(checkpoint_items(pickle.raw("u").done(), stored));
}

}  // namespace lasnet::test
