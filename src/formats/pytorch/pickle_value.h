// What a pickle of weights can hold, as plain data.
//
// Values live in one pool and refer to each other by index. So a value shared a million times costs a million
// indices, cycles and deep nestings need no care, and nothing here recurses.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lasnet/tensor.h"

namespace lasnet {

/// Index into PickleData::values.
using ValueId = uint32_t;

/// Element types of PyTorch's storages. `other` covers those that no weight is read from (float8, complex,
/// quantized ...).
enum class StorageType { f16, bf16, f32, f64, i8, i16, i32, i64, u8, boolean, bytes, other };

/// What naming or calling a global gives.
enum class GlobalRole {
  storage,            ///< torch.FloatStorage ...: only the type of a storage
  rebuild_plain,      ///< torch._utils._rebuild_tensor(storage, offset, shape, strides)
  rebuild_tensor,     ///< torch._utils._rebuild_tensor_v2: the same, gradient, hooks, properties
  rebuild_typed,      ///< torch._utils._rebuild_tensor_v3: the same with a dtype before the properties
  rebuild_parameter,  ///< torch._utils._rebuild_parameter(tensor, ...): the tensor
  rebuild_of_class,   ///< torch._tensor._rebuild_from_type_v2(rebuild, class, its arguments, attributes)
  tensor_class,       ///< torch.Tensor ...: a class whose instances are tensors and nothing more
  ordered_dict,       ///< an empty dict
  default_dict,       ///< the same, whatever it is called with
  tuple,              ///< torch.Size(tuple): the tuple
  dtype,              ///< torch.float32 ...
  inert               ///< anything else: nothing reads its instances
};

/// A class or function that the pickle names.
struct KnownGlobal {
  std::string_view name;  ///< "module.name"
  GlobalRole role;
  StorageType type = StorageType::other;  ///< of storage and dtype
};

struct PickleGlobal {
  const KnownGlobal* known = nullptr;
};

/// Values in a separate file of the archive.
struct StorageRef {
  StorageType type = StorageType::other;
  std::string key;    ///< `<root>/data/<key>`
  int64_t count = 0;  ///< elements of `type`
};

/// A strided view of a storage, checked to lie inside it. Offset and strides count elements of `type`.
struct TensorRef {
  StorageType type = StorageType::other;
  std::string key;
  int64_t storage_bytes = 0;
  int64_t offset = 0;
  Shape shape;
  std::vector<int64_t> strides;
  bool negated = false;       ///< its values are the negatives of the storage's
  std::string obstacle = {};  ///< why its values cannot be read; empty: they can
};

struct PickleNone {};
struct PickleBytes {
  std::string bytes;
};
struct PickleTuple {
  std::vector<ValueId> items;
};
struct PickleList {
  std::vector<ValueId> items;
};
struct PickleDict {
  std::vector<std::pair<ValueId, ValueId>> items;
};
/// An instance that is kept as inert data: nothing of it was constructed, nothing reads it.
struct PickleObject {
  const KnownGlobal* of = nullptr;
};
struct PickleStorage {
  size_t index = 0;  ///< into PickleData::storages
};
struct PickleTensor {
  size_t index = 0;  ///< into PickleData::tensors
};

using PickleValue =
    std::variant<PickleNone, bool, int64_t, double, std::string, PickleBytes, PickleTuple, PickleList,
                 PickleDict, PickleGlobal, PickleObject, PickleStorage, PickleTensor>;

/// "a list", "an integer", ...: for messages.
std::string kind_of(const PickleValue& value);

struct PickleData {
  std::map<std::string, KnownGlobal, std::less<>> foreign;  ///< globals that are not in pickle_globals.cc
  std::deque<PickleValue> values;  ///< a deque, so that growing never holds two copies
  std::deque<StorageRef> storages;
  std::deque<TensorRef> tensors;
  ValueId root = 0;

  /// Null if the value is of another kind.
  template <typename T>
  const T* as(ValueId id) const {
    return std::get_if<T>(&values[id]);
  }
};

}  // namespace lasnet
