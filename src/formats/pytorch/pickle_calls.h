// What calling an allowed global gives: tensors from storages, and inert data.
#pragma once

#include <string>

#include "formats/pytorch/pickle_globals.h"
#include "formats/pytorch/pickle_value.h"

namespace lasnet {

/// The storage that a persistent id names: ("storage", type, key, location, elements). Throws Error naming
/// `origin`.
StorageRef resolve_storage(const PickleData& data, ValueId id, const std::string& origin);

/// The tensor of the arguments of rebuild_plain, rebuild_tensor or rebuild_typed. An argument or a property
/// that may change values and is not understood is the tensor's obstacle. Throws Error naming `origin` unless
/// sizes and strides are one per dimension, not negative, and every element lies inside the storage.
TensorRef rebuild_tensor(const PickleData& data, const PickleTuple& arguments, GlobalRole role,
                         const std::string& origin);

}  // namespace lasnet
