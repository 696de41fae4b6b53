#include "formats/pytorch/pickle_calls.h"

#include <algorithm>

#include "base/fail.h"
#include "formats/printable.h"

namespace lasnet {
namespace {

constexpr size_t kMaxRank = 16;
constexpr size_t kMaxKey = 64;

[[noreturn]] void broken(const std::string& origin, const std::string& what) {
  fail("{}: broken checkpoint: {}", origin, what);
}

template <typename T>
const T& expect(const PickleData& data, ValueId id, const std::string& origin, const char* what) {
  const T* value = data.as<T>(id);
  if (value == nullptr) broken(origin, fmt::format("{} is {}", what, kind_of(data.values[id])));
  return *value;
}

std::vector<int64_t> integers(const PickleData& data, ValueId id, const std::string& origin,
                              const char* what) {
  const auto& items = expect<PickleTuple>(data, id, origin, what).items;
  if (items.size() > kMaxRank) {
    broken(origin, fmt::format("{} has {} entries, expected at most {}", what, items.size(), kMaxRank));
  }
  std::vector<int64_t> result;
  for (ValueId item : items) result.push_back(expect<int64_t>(data, item, origin, what));
  return result;
}

/// Elements from the storage's begin to the view's last, or -1 if that does not fit 64 bits.
int64_t extent(const TensorRef& tensor) {
  int64_t count = 1, last = tensor.offset;
  for (int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(count, size, &count)) return -1;
  }
  if (count == 0) return 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return -1;
    }
  }
  return __builtin_add_overflow(last, 1, &last) ? -1 : last;
}

void check_view(const TensorRef& tensor, const std::string& origin) {
  auto describe = [&] {
    return fmt::format("a {} tensor of shape {}, strides {}, offset {} over the {} bytes of storage '{}'",
                       to_string(tensor.type), to_string(tensor.shape), to_string(tensor.strides),
                       tensor.offset, tensor.storage_bytes, printable(tensor.key));
  };
  auto negative = [](int64_t value) { return value < 0; };
  if (tensor.strides.size() != tensor.shape.size() || tensor.offset < 0 ||
      std::ranges::any_of(tensor.shape, negative) || std::ranges::any_of(tensor.strides, negative)) {
    broken(origin, describe() + " is impossible");
  }
  int64_t needed = extent(tensor);
  if (needed < 0) broken(origin, describe() + " does not fit 64 bits");
  int64_t element = size_of(tensor.type);
  if (element > 0 && needed > tensor.storage_bytes / element) {
    broken(origin, describe() + " leaves its storage");
  }
}

/// How many arguments a call needs, and how many are understood; one more than `plain` is a dict of
/// properties.
struct Signature {
  size_t plain;
  bool has_properties;
};

Signature signature_of(GlobalRole role) {
  if (role == GlobalRole::rebuild_plain) return {4, false};
  return {role == GlobalRole::rebuild_typed ? size_t{7} : size_t{6}, true};
}

/// A view's lazy operations, such as {'neg': True}. A conjugated real tensor does not exist.
void apply_properties(const PickleData& data, ValueId id, TensorRef& tensor) {
  if (data.as<PickleNone>(id) != nullptr) return;
  const auto* properties = data.as<PickleDict>(id);
  if (properties == nullptr) {
    tensor.obstacle = "has properties that are " + kind_of(data.values[id]);
    return;
  }
  for (const auto& [key, value] : properties->items) {
    const auto* name = data.as<std::string>(key);
    const bool* is_on = data.as<bool>(value);
    if (name != nullptr && is_on != nullptr && *name == "neg") {
      tensor.negated = *is_on;
    } else if (is_on == nullptr || *is_on) {
      tensor.obstacle = fmt::format("has the property '{}'",
                                    name == nullptr ? kind_of(data.values[key]) : printable(*name));
    }
  }
}

}  // namespace

StorageRef resolve_storage(const PickleData& data, ValueId id, const std::string& origin) {
  const auto& items = expect<PickleTuple>(data, id, origin, "a persistent id").items;
  if (items.size() < 5 ||
      expect<std::string>(data, items[0], origin, "a persistent id's kind") != "storage") {
    broken(origin, "a persistent id is not ('storage', type, key, location, elements)");
  }
  const auto& global = expect<PickleGlobal>(data, items[1], origin, "a storage's type");
  if (global.known->role != GlobalRole::storage && !global.known->name.ends_with("Storage")) {
    broken(origin, fmt::format("a storage's type is {}", printable(global.known->name)));
  }
  StorageRef storage{.type = global.known->type,
                     .key = expect<std::string>(data, items[2], origin, "a storage's key"),
                     .count = expect<int64_t>(data, items[4], origin, "a storage's number of elements")};
  int64_t bytes = 0;
  if (storage.key.size() > kMaxKey || storage.count < 0 ||
      __builtin_mul_overflow(storage.count, size_of(storage.type), &bytes)) {
    broken(origin,
           fmt::format("storage '{}' of {} elements is impossible", printable(storage.key), storage.count));
  }
  return storage;
}

TensorRef rebuild_tensor(const PickleData& data, const PickleTuple& arguments, GlobalRole role,
                         const std::string& origin) {
  const auto& items = arguments.items;
  const auto [plain, has_properties] = signature_of(role);
  if (items.size() < plain) {
    broken(origin, fmt::format("a tensor is made of {} arguments, expected {}", items.size(), plain));
  }
  const auto& handle = expect<PickleStorage>(data, items[0], origin, "a tensor's storage");
  const StorageRef& storage = data.storages[handle.index];
  TensorRef tensor{.type = storage.type,
                   .key = storage.key,
                   .storage_bytes = storage.count * size_of(storage.type),
                   .offset = expect<int64_t>(data, items[1], origin, "a tensor's offset"),
                   .shape = integers(data, items[2], origin, "a tensor's shape"),
                   .strides = integers(data, items[3], origin, "a tensor's strides")};
  if (role == GlobalRole::rebuild_typed) {
    const auto& global = expect<PickleGlobal>(data, items[6], origin, "a tensor's dtype");
    tensor.type = global.known->role == GlobalRole::dtype ? global.known->type : StorageType::other;
  }
  if (has_properties && items.size() > plain) apply_properties(data, items[plain], tensor);
  const size_t understood = plain + (has_properties ? 1 : 0);
  if (items.size() > understood) {
    tensor.obstacle = fmt::format("is made of {} arguments, of which {} are known", items.size(), understood);
  }
  check_view(tensor, origin);
  return tensor;
}

}  // namespace lasnet
