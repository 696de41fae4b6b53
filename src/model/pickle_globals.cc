#include "model/pickle_globals.h"

#include <algorithm>
#include <array>
#include <type_traits>

namespace lasnet {
namespace {

using enum GlobalRole;

constexpr std::array kGlobals = {
    KnownGlobal{"torch._utils._rebuild_tensor_v2", rebuild_tensor},
    KnownGlobal{"torch._utils._rebuild_tensor_v3", rebuild_typed},
    KnownGlobal{"torch._utils._rebuild_parameter", rebuild_parameter},
    KnownGlobal{"torch.HalfStorage", storage, StorageType::f16},
    KnownGlobal{"torch.BFloat16Storage", storage, StorageType::bf16},
    KnownGlobal{"torch.FloatStorage", storage, StorageType::f32},
    KnownGlobal{"torch.DoubleStorage", storage, StorageType::f64},
    KnownGlobal{"torch.CharStorage", storage, StorageType::i8},
    KnownGlobal{"torch.ShortStorage", storage, StorageType::i16},
    KnownGlobal{"torch.IntStorage", storage, StorageType::i32},
    KnownGlobal{"torch.LongStorage", storage, StorageType::i64},
    KnownGlobal{"torch.ByteStorage", storage, StorageType::u8},
    KnownGlobal{"torch.BoolStorage", storage, StorageType::boolean},
    KnownGlobal{"torch.UntypedStorage", storage, StorageType::bytes},
    KnownGlobal{"torch.storage.UntypedStorage", storage, StorageType::bytes},
    KnownGlobal{"torch.float16", dtype, StorageType::f16},
    KnownGlobal{"torch.bfloat16", dtype, StorageType::bf16},
    KnownGlobal{"torch.float32", dtype, StorageType::f32},
    KnownGlobal{"torch.float64", dtype, StorageType::f64},
    KnownGlobal{"torch.int8", dtype, StorageType::i8},
    KnownGlobal{"torch.int16", dtype, StorageType::i16},
    KnownGlobal{"torch.int32", dtype, StorageType::i32},
    KnownGlobal{"torch.int64", dtype, StorageType::i64},
    KnownGlobal{"torch.uint8", dtype, StorageType::u8},
    KnownGlobal{"torch.bool", dtype, StorageType::boolean},
    KnownGlobal{"torch.uint16", dtype},
    KnownGlobal{"torch.uint32", dtype},
    KnownGlobal{"torch.uint64", dtype},
    KnownGlobal{"torch.float8_e4m3fn", dtype},
    KnownGlobal{"torch.float8_e5m2", dtype},
    KnownGlobal{"torch.Size", tuple},
    KnownGlobal{"torch.device", inert},
    KnownGlobal{"collections.OrderedDict", ordered_dict},
    // What schedulers and loggers leave beside the weights.
    KnownGlobal{"argparse.Namespace", inert},
    KnownGlobal{"collections.Counter", inert},
    KnownGlobal{"numpy.core.multiarray.scalar", inert},
    KnownGlobal{"numpy._core.multiarray.scalar", inert},
    KnownGlobal{"numpy.dtype", inert},
    KnownGlobal{"_codecs.encode", inert},
};

struct TypeFacts {
  const char* name;
  int64_t size;
};

/// By StorageType.
constexpr std::array<TypeFacts, 12> kTypes = {{{"float16", 2},
                                               {"bfloat16", 2},
                                               {"float32", 4},
                                               {"float64", 8},
                                               {"int8", 1},
                                               {"int16", 2},
                                               {"int32", 4},
                                               {"int64", 8},
                                               {"uint8", 1},
                                               {"bool", 1},
                                               {"bytes", 1},
                                               {"an unsupported type", 0}}};
static_assert(kTypes.size() == static_cast<size_t>(StorageType::other) + 1);

}  // namespace

const KnownGlobal* find_global(std::string_view module, std::string_view name) {
  auto matches = [&](const KnownGlobal& known) {
    return known.name.size() == module.size() + 1 + name.size() && known.name.starts_with(module) &&
           known.name[module.size()] == '.' && known.name.ends_with(name);
  };
  auto found = std::ranges::find_if(kGlobals, matches);
  return found == kGlobals.end() ? nullptr : &*found;
}

int64_t size_of(StorageType type) { return kTypes[static_cast<size_t>(type)].size; }

std::string to_string(StorageType type) { return kTypes[static_cast<size_t>(type)].name; }

std::string kind_of(const PickleValue& value) {
  struct Namer {
    std::string operator()(PickleNone) const { return "None"; }
    std::string operator()(bool) const { return "a bool"; }
    std::string operator()(int64_t) const { return "an integer"; }
    std::string operator()(double) const { return "a number"; }
    std::string operator()(const std::string&) const { return "a string"; }
    std::string operator()(const PickleBytes&) const { return "bytes"; }
    std::string operator()(const PickleTuple&) const { return "a tuple"; }
    std::string operator()(const PickleList&) const { return "a list"; }
    std::string operator()(const PickleDict&) const { return "a dict"; }
    std::string operator()(PickleGlobal global) const { return std::string(global.known->name); }
    std::string operator()(PickleObject object) const { return "a " + std::string(object.of->name); }
    std::string operator()(PickleStorage) const { return "a storage"; }
    std::string operator()(PickleTensor) const { return "a tensor"; }
  };
  return std::visit(Namer(), value);
}

}  // namespace lasnet
