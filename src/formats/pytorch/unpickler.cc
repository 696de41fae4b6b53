#include "formats/pytorch/unpickler.h"

#include <array>

#include "formats/printable.h"
#include "formats/pytorch/pickle_calls.h"
#include "formats/pytorch/pickle_globals.h"
#include "formats/pytorch/pickle_opcodes.h"
#include "formats/pytorch/pickle_reader.h"
#include "formats/pytorch/pickle_stack.h"

namespace lasnet {
namespace {

constexpr size_t kMaxOpcodes = 2'000'000;
constexpr size_t kMaxTensors = 50'000;
constexpr size_t kMaxForeign = 10'000;
constexpr int kMinProtocol = 2, kMaxProtocol = 5;

/// The machine at work: bytes in, values out.
struct Machine {
  PickleReader in;
  PickleStack stack;

  Machine(std::span<const uint8_t> bytes, const std::string& origin) : in(bytes, origin), stack(in) {}

  void check_protocol() {
    int version = in.number<uint8_t>();
    if (version >= kMinProtocol && version <= kMaxProtocol) return;
    in.broken(fmt::format("it has protocol {}, expected {} to {}", version, kMinProtocol, kMaxProtocol));
  }

  void check_frame() {
    if (in.number<uint64_t>() > in.left()) in.broken("a frame is longer than what is left");
  }

  void push_global(std::string_view module, std::string_view name) {
    const KnownGlobal* known = find_global(module, name);
    stack.push(PickleGlobal{known == nullptr ? foreign_global(module, name) : known});
  }

  /// A class or function whose instances nothing reads.
  const KnownGlobal* foreign_global(std::string_view module, std::string_view name) {
    if (is_attack(module, name)) {
      in.refuse_attack(fmt::format("{}.{}", printable(module), printable(name)));
    }
    auto& foreign = stack.data.foreign;
    const auto [found, is_new] = foreign.try_emplace(fmt::format("{}.{}", printable(module), printable(name)),
                                                     KnownGlobal{.name = {}, .role = GlobalRole::inert});
    if (is_new && foreign.size() > kMaxForeign) in.too_many("foreign classes", kMaxForeign);
    found->second.name = found->first;
    return &found->second;
  }

  void push_named_global() {
    std::string_view module = in.line();
    push_global(module, in.line());
  }

  void push_global_of_stack() {
    std::vector<ValueId> names = stack.pop_many(2);
    const auto* module = stack.data.as<std::string>(names[0]);
    const auto* name = stack.data.as<std::string>(names[1]);
    if (module == nullptr || name == nullptr) in.broken("the name of a global is not a string");
    push_global(*module, *name);
  }

  void push_storage() {
    PickleData& data = stack.data;
    if (data.storages.size() == kMaxTensors) in.too_many("storages", kMaxTensors);
    data.storages.push_back(resolve_storage(data, stack.pop(), in.origin()));
    stack.push(PickleStorage{data.storages.size() - 1});
  }

  void push_tensor(const PickleTuple& arguments, GlobalRole role) {
    PickleData& data = stack.data;
    if (data.tensors.size() == kMaxTensors) in.too_many("tensors", kMaxTensors);
    data.tensors.push_back(rebuild_tensor(data, arguments, role, in.origin()));
    stack.push(PickleTensor{data.tensors.size() - 1});
  }

  /// Pops the arguments and the global that they are for.
  std::pair<const KnownGlobal*, const PickleTuple*> pop_call(const char* opcode) {
    std::vector<ValueId> both = stack.pop_many(2);
    const auto* callee = stack.data.as<PickleGlobal>(both[0]);
    const auto* arguments = stack.data.as<PickleTuple>(both[1]);
    if (callee == nullptr) {
      in.refuse(fmt::format("calls {} ({})", kind_of(stack.data.values[both[0]]), opcode));
    }
    if (arguments == nullptr) in.broken(fmt::format("{}: the arguments are not a tuple", opcode));
    return {callee->known, arguments};
  }

  /// The first argument, one of Ts, is the result.
  template <typename... Ts>
  void push_first(const std::vector<ValueId>& items, std::string_view callee) {
    if (items.empty() || ((stack.data.as<Ts>(items[0]) == nullptr) && ...)) {
      in.broken(fmt::format("{} is called with something else than its value", callee));
    }
    stack.push_id(items[0]);
  }

  void push_object(const KnownGlobal* of, const std::vector<ValueId>& items) {
    stack.push(PickleObject{of}, stack.depth_around(items));
  }

  /// A tensor of one of PyTorch's own classes; attributes do not change its values. Others may be anything.
  void push_tensor_of_class(const KnownGlobal* callee, const std::vector<ValueId>& items) {
    const PickleData& data = stack.data;
    const auto* rebuild = items.size() == 4 ? data.as<PickleGlobal>(items[0]) : nullptr;
    const auto* type = rebuild == nullptr ? nullptr : data.as<PickleGlobal>(items[1]);
    const auto* arguments = rebuild == nullptr ? nullptr : data.as<PickleTuple>(items[2]);
    const bool is_plain = type != nullptr && arguments != nullptr &&
                          type->known->role == GlobalRole::tensor_class && makes_tensor(rebuild->known->role);
    if (!is_plain) return push_object(callee, items);
    push_tensor(*arguments, rebuild->known->role);
  }

  static bool makes_tensor(GlobalRole role) {
    return role == GlobalRole::rebuild_plain || role == GlobalRole::rebuild_tensor ||
           role == GlobalRole::rebuild_typed;
  }

  void reduce() {
    auto [callee, arguments] = pop_call("REDUCE");
    const std::vector<ValueId>& items = arguments->items;
    switch (callee->role) {
      case GlobalRole::rebuild_plain:
      case GlobalRole::rebuild_tensor:
      case GlobalRole::rebuild_typed:
        return push_tensor(*arguments, callee->role);
      case GlobalRole::rebuild_parameter:
        return push_first<PickleTensor, PickleObject>(items, callee->name);
      case GlobalRole::rebuild_of_class:
        return push_tensor_of_class(callee, items);
      case GlobalRole::tuple:
        return push_first<PickleTuple>(items, callee->name);
      case GlobalRole::tensor_class:
      case GlobalRole::inert:
        return push_object(callee, items);
      case GlobalRole::ordered_dict:
        if (!items.empty()) in.refuse("fills an OrderedDict by its arguments, as Python 2 did");
        return stack.push(PickleDict());
      case GlobalRole::default_dict:
        return stack.push(PickleDict());
      case GlobalRole::storage:
      case GlobalRole::dtype:
        in.refuse(fmt::format("calls '{}' (REDUCE)", callee->name));
    }
  }

  void push_instance(const char* opcode) {
    auto [callee, arguments] = pop_call(opcode);
    if (callee->role != GlobalRole::inert && callee->role != GlobalRole::tensor_class) {
      in.refuse(fmt::format("makes an instance of '{}' ({})", callee->name, opcode));
    }
    push_object(callee, arguments->items);
  }

  void new_object_with_keywords() {
    stack.pop();
    push_instance("NEWOBJ_EX");
  }

  /// Attributes, of an OrderedDict (a state dict's `_metadata`) or of an inert object: nothing reads them.
  void build() {
    stack.pop();
    const PickleValue& object = stack.data.values[stack.top()];
    bool allowed = std::holds_alternative<PickleDict>(object) || std::holds_alternative<PickleObject>(object);
    if (!allowed) in.refuse(fmt::format("sets the state of {} (BUILD)", kind_of(object)));
  }

  void push_list_from_mark() {
    std::vector<ValueId> items = stack.pop_to_mark();
    stack.push(PickleList());
    stack.append(items);
  }

  void push_dict_from_mark() {
    std::vector<ValueId> items = stack.pop_to_mark();
    stack.push(PickleDict());
    stack.set_items(items);
  }
};

using Handler = void (*)(Machine&);

constexpr uint8_t kStop = '.';

/// What each opcode does; null: refused. This is all that a pickle can do.
constexpr std::array<Handler, 256> kHandlers = [] {
  std::array<Handler, 256> table{};
  table[0x80] = [](Machine& m) { m.check_protocol(); };                             // PROTO
  table[0x95] = [](Machine& m) { m.check_frame(); };                                // FRAME
  table['N'] = [](Machine& m) { m.stack.push(PickleNone()); };                      // NONE
  table[0x88] = [](Machine& m) { m.stack.push(true); };                             // NEWTRUE
  table[0x89] = [](Machine& m) { m.stack.push(false); };                            // NEWFALSE
  table['J'] = [](Machine& m) { m.stack.push(int64_t{m.in.number<int32_t>()}); };   // BININT
  table['K'] = [](Machine& m) { m.stack.push(int64_t{m.in.number<uint8_t>()}); };   // BININT1
  table['M'] = [](Machine& m) { m.stack.push(int64_t{m.in.number<uint16_t>()}); };  // BININT2
  table[0x8a] = [](Machine& m) { m.stack.push(m.in.long_integer<uint8_t>()); };     // LONG1
  table[0x8b] = [](Machine& m) { m.stack.push(m.in.long_integer<uint32_t>()); };    // LONG4
  table['G'] = [](Machine& m) { m.stack.push(m.in.real()); };                       // BINFLOAT
  table['X'] = [](Machine& m) { m.stack.push(m.in.counted_text<uint32_t>()); };     // BINUNICODE
  table[0x8c] = [](Machine& m) { m.stack.push(m.in.counted_text<uint8_t>()); };     // SHORT_BINUNICODE
  table['B'] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint32_t>()}); };  // BINBYTES
  table['C'] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint8_t>()}); };  // SHORT_BINBYTES
  table[0x8d] = [](Machine& m) { m.stack.push(m.in.counted_text<uint64_t>()); };             // BINUNICODE8
  table['T'] = [](Machine& m) { m.stack.push(m.in.counted_text<uint32_t>()); };              // BINSTRING
  table['U'] = [](Machine& m) { m.stack.push(m.in.counted_text<uint8_t>()); };  // SHORT_BINSTRING
  table[0x8e] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint64_t>()}); };  // BINBYTES8
  table[0x96] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint64_t>()}); };  // BYTEARRAY8
  // Sets are read as lists and tuples: nothing asks what is in them.
  table[0x8f] = [](Machine& m) { m.stack.push(PickleList()); };                 // EMPTY_SET
  table[0x90] = [](Machine& m) { m.stack.append(m.stack.pop_to_mark()); };      // ADDITEMS
  table[0x91] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_to_mark()); };  // FROZENSET
  table['l'] = [](Machine& m) { m.push_list_from_mark(); };                     // LIST
  table['d'] = [](Machine& m) { m.push_dict_from_mark(); };                     // DICT
  table['0'] = [](Machine& m) { m.stack.pop(); };                               // POP
  table['1'] = [](Machine& m) { m.stack.pop_to_mark(); };                       // POP_MARK
  table['2'] = [](Machine& m) { m.stack.push_id(m.stack.top()); };              // DUP
  table[')'] = [](Machine& m) { m.stack.push(PickleTuple()); };                 // EMPTY_TUPLE
  table[']'] = [](Machine& m) { m.stack.push(PickleList()); };                  // EMPTY_LIST
  table['}'] = [](Machine& m) { m.stack.push(PickleDict()); };                  // EMPTY_DICT
  table['('] = [](Machine& m) { m.stack.mark(); };                              // MARK
  table['t'] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_to_mark()); };   // TUPLE
  table[0x85] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(1)); };    // TUPLE1
  table[0x86] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(2)); };    // TUPLE2
  table[0x87] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(3)); };    // TUPLE3
  table['a'] = [](Machine& m) { m.stack.append(m.stack.pop_many(1)); };         // APPEND
  table['e'] = [](Machine& m) { m.stack.append(m.stack.pop_to_mark()); };       // APPENDS
  table['s'] = [](Machine& m) { m.stack.set_items(m.stack.pop_many(2)); };      // SETITEM
  table['u'] = [](Machine& m) { m.stack.set_items(m.stack.pop_to_mark()); };    // SETITEMS
  table['q'] = [](Machine& m) { m.stack.remember(m.in.number<uint8_t>()); };    // BINPUT
  table['r'] = [](Machine& m) { m.stack.remember(m.in.number<uint32_t>()); };   // LONG_BINPUT
  table[0x94] = [](Machine& m) { m.stack.remember_next(); };                    // MEMOIZE
  table['h'] = [](Machine& m) { m.stack.recall(m.in.number<uint8_t>()); };      // BINGET
  table['j'] = [](Machine& m) { m.stack.recall(m.in.number<uint32_t>()); };     // LONG_BINGET
  table['c'] = [](Machine& m) { m.push_named_global(); };                       // GLOBAL
  table[0x93] = [](Machine& m) { m.push_global_of_stack(); };                   // STACK_GLOBAL
  table['Q'] = [](Machine& m) { m.push_storage(); };                            // BINPERSID
  table['R'] = [](Machine& m) { m.reduce(); };                                  // REDUCE
  table[0x81] = [](Machine& m) { m.push_instance("NEWOBJ"); };                  // NEWOBJ
  table[0x92] = [](Machine& m) { m.new_object_with_keywords(); };               // NEWOBJ_EX
  table['b'] = [](Machine& m) { m.build(); };                                   // BUILD
  return table;
}();

}  // namespace

PickleData unpickle(std::span<const uint8_t> bytes, const std::string& origin) {
  Machine machine(bytes, origin);
  if (bytes.size() > kMaxPickle) machine.in.too_many("bytes", kMaxPickle);
  size_t count = 0;
  for (uint8_t opcode = machine.in.opcode(); opcode != kStop; opcode = machine.in.opcode()) {
    if (++count > kMaxOpcodes) machine.in.too_many("opcodes", kMaxOpcodes);
    if (kHandlers[opcode] == nullptr) machine.in.refuse("uses the opcode " + opcode_name(opcode));
    kHandlers[opcode](machine);
  }
  machine.stack.data.root = machine.stack.pop_last();
  if (machine.in.left() != 0) machine.in.broken("bytes follow its end");
  return std::move(machine.stack.data);
}

}  // namespace lasnet
