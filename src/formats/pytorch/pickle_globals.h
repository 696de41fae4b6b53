// The classes and functions that a pickle names, and what stands for their results. There is no way from a
// name to code: what is in the table has its meaning here, and everything else gives inert objects.
#pragma once

#include <string>
#include <string_view>

#include "formats/pytorch/pickle_value.h"

namespace lasnet {

/// Those whose meaning matters; null for every other name, whose instances are inert.
const KnownGlobal* find_global(std::string_view module, std::string_view name);

/// Whether Python runs programs, opens files or finds other code by this name: no checkpoint needs it, and
/// one that has it attacks programs that execute pickles.
bool is_attack(std::string_view module, std::string_view name);

/// Bytes per element; 0 for `other`.
int64_t size_of(StorageType type);
/// "float32", "int64", ...
std::string to_string(StorageType type);

}  // namespace lasnet
