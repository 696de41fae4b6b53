#include "formats/pytorch/pickle_globals.h"

#include <algorithm>
#include <array>
#include <type_traits>

namespace lasnet {
namespace {

using enum GlobalRole;

constexpr std::array kGlobals = {
    KnownGlobal{"torch._utils._rebuild_tensor", rebuild_plain},
    KnownGlobal{"torch._utils._rebuild_tensor_v2", rebuild_tensor},
    KnownGlobal{"torch._utils._rebuild_tensor_v3", rebuild_typed},
    KnownGlobal{"torch._utils._rebuild_parameter", rebuild_parameter},
    KnownGlobal{"torch._utils._rebuild_parameter_with_state", rebuild_parameter},
    KnownGlobal{"torch._tensor._rebuild_from_type_v2", rebuild_of_class},
    KnownGlobal{"torch.Tensor", tensor_class},
    KnownGlobal{"torch._tensor.Tensor", tensor_class},
    KnownGlobal{"torch.nn.parameter.Parameter", tensor_class},
    KnownGlobal{"torch.nn.parameter.Buffer", tensor_class},
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
    KnownGlobal{"torch.Size", tuple},
    KnownGlobal{"collections.OrderedDict", ordered_dict},
    KnownGlobal{"collections.defaultdict", default_dict},
};

/// Modules of Python's library whose functions act on the system, or find and run code.
constexpr std::array<std::string_view, 34> kActing = {
    "os",       "posix",     "nt",       "subprocess", "sys",      "builtins",   "__builtin__",
    "runpy",    "importlib", "imp",      "shutil",     "socket",   "ctypes",     "pty",
    "commands", "popen2",    "code",     "codeop",     "operator", "pickle",     "_pickle",
    "cPickle",  "marshal",   "types",    "inspect",    "site",     "webbrowser", "bdb",
    "pdb",      "timeit",    "tempfile", "http",       "urllib",   "torch.hub"};
/// What these modules have of plain data; getattr is how Python writes members of an Enum.
constexpr std::array<std::string_view, 19> kData = {
    "getattr", "object", "type",  "set",    "frozenset",      "complex", "bytearray",
    "bytes",   "slice",  "range", "xrange", "list",           "dict",    "tuple",
    "int",     "float",  "str",   "bool",   "SimpleNamespace"};
/// Of other modules.
constexpr std::array<std::string_view, 2> kActingNames = {"torch.load", "torch.serialization.load"};

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

bool is_attack(std::string_view module, std::string_view name) {
  auto holds = [&](std::string_view acting) {
    return module == acting || (module.starts_with(acting) && module[acting.size()] == '.');
  };
  auto is_named = [&](std::string_view full) {
    return full.size() == module.size() + 1 + name.size() && full.starts_with(module) && full.ends_with(name);
  };
  if (name.find(".__") != std::string_view::npos) return true;  // the way from a class to everything
  if (std::ranges::any_of(kActingNames, is_named)) return true;
  return std::ranges::any_of(kActing, holds) && std::ranges::find(kData, name) == kData.end();
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
