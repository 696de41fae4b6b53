// The classes and functions that a pickle of weights may name, and what stands for their results. There is no
// way from a name to code: what is not in the table is refused, and what is in it has its meaning here.
#pragma once

#include <string>
#include <string_view>

#include "model/pickle_value.h"

namespace lasnet {

/// What naming or calling a global gives.
enum class GlobalRole {
  storage,            ///< torch.FloatStorage ...: only the type of a storage
  rebuild_tensor,     ///< torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...)
  rebuild_typed,      ///< torch._utils._rebuild_tensor_v3: the same with a dtype after its 6th argument
  rebuild_parameter,  ///< torch._utils._rebuild_parameter(tensor, ...): the tensor
  ordered_dict,       ///< an empty dict
  tuple,              ///< torch.Size(tuple): the tuple
  dtype,              ///< torch.float32 ...
  inert               ///< a class whose instances nothing reads: argparse.Namespace, torch.device ...
};

struct KnownGlobal {
  std::string_view name;  ///< "module.name"
  GlobalRole role;
  StorageType type = StorageType::other;  ///< of storage and dtype
};

/// Null for every other name.
const KnownGlobal* find_global(std::string_view module, std::string_view name);

/// Bytes per element; 0 for `other`.
int64_t size_of(StorageType type);
/// "float32", "int64", ...
std::string to_string(StorageType type);

}  // namespace lasnet
