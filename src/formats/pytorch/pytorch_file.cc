#include "formats/pytorch/pytorch_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/fail.h"
#include "base/float_formats.h"
#include "formats/printable.h"
#include "formats/pytorch/pickle_globals.h"
#include "formats/pytorch/python_advice.h"
#include "formats/pytorch/state_dict.h"
#include "formats/pytorch/unpickler.h"

namespace lasnet {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied as they are");

bool is_float(StorageType type) {
  return type == StorageType::f16 || type == StorageType::bf16 || type == StorageType::f32 ||
         type == StorageType::f64;
}

/// Visits the elements in row-major order of the shape.
template <typename Stored, typename Convert>
void gather_as(const TensorRef& tensor, const uint8_t* bytes, Tensor& out, Convert to_float) {
  std::vector<int64_t> index(tensor.shape.size(), 0);
  int64_t position = 0;
  for (float& value : out.data) {
    Stored stored;
    std::memcpy(&stored, bytes + position * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    value = to_float(stored);
    for (size_t axis = index.size(); axis-- > 0;) {
      position += tensor.strides[axis];
      if (++index[axis] < tensor.shape[axis]) break;
      position -= tensor.strides[axis] * tensor.shape[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace

uint64_t view_bytes(const TensorRef& tensor) {
  if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) return 0;
  int64_t elements = 1;
  for (size_t i = 0; i < tensor.shape.size(); ++i) elements += (tensor.shape[i] - 1) * tensor.strides[i];
  return static_cast<uint64_t>(elements * size_of(tensor.type));
}

Tensor gather(const TensorRef& tensor, std::span<const uint8_t> bytes) {
  Tensor out(tensor.shape);
  const uint8_t* from = bytes.data();
  if (tensor.type == StorageType::f16) {
    gather_as<uint16_t>(tensor, from, out, f16_to_f32);
  } else if (tensor.type == StorageType::bf16) {
    gather_as<uint16_t>(tensor, from, out, bf16_to_f32);
  } else if (tensor.type == StorageType::f64) {
    gather_as<double>(tensor, from, out, [](double value) { return static_cast<float>(value); });
  } else {
    gather_as<float>(tensor, from, out, [](float value) { return value; });
  }
  if (tensor.negated) {
    for (float& value : out.data) value = -value;
  }
  return out;
}

PyTorchFile::PyTorchFile(ByteSource source, const std::string& state_dict) : archive_(std::move(source)) {
  find_root();
  archive_.require_stored();
  check_byte_order();
  std::vector<uint8_t> pickle = archive_.read(root_ + "data.pkl", kMaxPickle);
  const PickleData data = unpickle(pickle, origin());
  StateDict found = find_state_dict(data, origin(), state_dict);
  state_dict_ = found.keys;
  other_state_dicts_ = std::move(found.others);
  views_ = std::move(found.tensors);
  for (const auto& [name, tensor] : views_) {
    check_storage(name, tensor);
    tensors_[name] = {tensor.shape, to_string(tensor.type), is_float(tensor.type), tensor.obstacle};
  }
}

void PyTorchFile::find_root() {
  constexpr std::string_view kPickle = "/data.pkl";
  for (const auto& [name, entry] : archive_.entries()) {
    bool is_pickle = name.ends_with(kPickle) && std::ranges::count(name, '/') == 1;
    if (!is_pickle) continue;
    if (!root_.empty()) {
      fail("{}: not a PyTorch checkpoint: it has two pickles, in '{}' and '{}'", origin(), printable(root_),
           printable(name));
    }
    root_ = name.substr(0, name.size() - kPickle.size() + 1);
  }
  if (root_.empty()) {
    fail("{}: a zip archive, but not a PyTorch checkpoint: it has no <name>/data.pkl", origin());
  }
  if (archive_.find(root_ + "constants.pkl") != nullptr) {
    fail("{}: a TorchScript archive (torch.jit.save), which holds a program. {}", origin(),
         save_script_weights(origin()));
  }
}

void PyTorchFile::check_byte_order() {
  constexpr uint64_t kMaxOrder = 16;
  const std::string name = root_ + "byteorder";
  if (archive_.find(name) == nullptr) return;
  std::vector<uint8_t> bytes = archive_.read(name, kMaxOrder);
  std::string order(bytes.begin(), bytes.end());
  if (order == "little") return;
  fail("{}: its byte order is '{}'; only little-endian checkpoints are read. {}", origin(), printable(order),
       save_checkpoint_again(origin()));
}

void PyTorchFile::check_storage(const std::string& name, const TensorRef& tensor) const {
  if (size_of(tensor.type) == 0) return;  // of a type that is never read
  const ZipEntry* entry = archive_.find(storage_entry(tensor));
  auto expected = static_cast<uint64_t>(tensor.storage_bytes);
  if (entry != nullptr && entry->size == expected) return;
  std::string found = entry == nullptr ? "missing" : fmt::format("of {} bytes", entry->size);
  fail("{}: broken checkpoint: the storage '{}' of '{}' is {}, its pickle says {} bytes", origin(),
       printable(tensor.key), printable(name), found, expected);
}

Tensor PyTorchFile::read(const std::string& name) {
  const TensorRef& tensor = views_.at(name);
  if (!tensor.obstacle.empty()) fail("{}: tensor '{}' {}", origin(), printable(name), tensor.obstacle);
  if (!is_float(tensor.type)) {
    fail("{}: tensor '{}' holds {}, expected floating point. If the network is quantized, save it before",
         origin(), printable(name), to_string(tensor.type));
  }
  auto begin = static_cast<uint64_t>(tensor.offset * size_of(tensor.type));
  uint64_t count = view_bytes(tensor);
  if (count == 0) return Tensor(tensor.shape);
  return gather(tensor, archive_.read(storage_entry(tensor), begin, count));
}

}  // namespace lasnet
