#include "model/unpickler.h"

#include <array>

#include "model/pickle_calls.h"
#include "model/pickle_globals.h"
#include "model/pickle_opcodes.h"
#include "model/pickle_reader.h"
#include "model/pickle_stack.h"
#include "model/printable.h"

namespace lasnet {
namespace {

constexpr size_t kMaxOpcodes = 2'000'000;
constexpr size_t kMaxTensors = 50'000;
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
    if (known == nullptr) {
      in.refuse(fmt::format("names the global '{}.{}'", printable(module), printable(name)));
    }
    stack.push(PickleGlobal{known});
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

  /// The first argument, a T, is the result.
  template <typename T>
  void push_first(const std::vector<ValueId>& items, std::string_view callee) {
    if (items.empty() || stack.data.as<T>(items[0]) == nullptr) {
      in.broken(fmt::format("{} is called with something else than its value", callee));
    }
    stack.push_id(items[0]);
  }

  void reduce() {
    auto [callee, arguments] = pop_call("REDUCE");
    const std::vector<ValueId>& items = arguments->items;
    switch (callee->role) {
      case GlobalRole::rebuild_tensor:
      case GlobalRole::rebuild_typed:
        return push_tensor(*arguments, callee->role);
      case GlobalRole::rebuild_parameter:
        return push_first<PickleTensor>(items, callee->name);
      case GlobalRole::tuple:
        return push_first<PickleTuple>(items, callee->name);
      case GlobalRole::inert:
        return stack.push(PickleObject{callee}, stack.depth_around(items));
      case GlobalRole::ordered_dict:
        if (!items.empty()) in.refuse("fills an OrderedDict by its arguments, as Python 2 did");
        return stack.push(PickleDict());
      case GlobalRole::storage:
      case GlobalRole::dtype:
        in.refuse(fmt::format("calls '{}' (REDUCE)", callee->name));
    }
  }

  void new_object() {
    auto [callee, arguments] = pop_call("NEWOBJ");
    if (callee->role != GlobalRole::inert) {
      in.refuse(fmt::format("makes an instance of '{}' (NEWOBJ)", callee->name));
    }
    stack.push(PickleObject{callee}, stack.depth_around(arguments->items));
  }

  /// Attributes, of an OrderedDict (a state dict's `_metadata`) or of an inert object: nothing reads them.
  void build() {
    stack.pop();
    const PickleValue& object = stack.data.values[stack.top()];
    bool allowed = std::holds_alternative<PickleDict>(object) || std::holds_alternative<PickleObject>(object);
    if (!allowed) in.refuse(fmt::format("sets the state of {} (BUILD)", kind_of(object)));
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
  table[0x8a] = [](Machine& m) { m.stack.push(m.in.long_integer()); };              // LONG1
  table['G'] = [](Machine& m) { m.stack.push(m.in.real()); };                       // BINFLOAT
  table['X'] = [](Machine& m) { m.stack.push(m.in.counted_text<uint32_t>()); };     // BINUNICODE
  table[0x8c] = [](Machine& m) { m.stack.push(m.in.counted_text<uint8_t>()); };     // SHORT_BINUNICODE
  table['B'] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint32_t>()}); };  // BINBYTES
  table['C'] = [](Machine& m) { m.stack.push(PickleBytes{m.in.counted_text<uint8_t>()}); };  // SHORT_BINBYTES
  table[')'] = [](Machine& m) { m.stack.push(PickleTuple()); };                              // EMPTY_TUPLE
  table[']'] = [](Machine& m) { m.stack.push(PickleList()); };                               // EMPTY_LIST
  table['}'] = [](Machine& m) { m.stack.push(PickleDict()); };                               // EMPTY_DICT
  table['('] = [](Machine& m) { m.stack.mark(); };                                           // MARK
  table['t'] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_to_mark()); };                // TUPLE
  table[0x85] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(1)); };                 // TUPLE1
  table[0x86] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(2)); };                 // TUPLE2
  table[0x87] = [](Machine& m) { m.stack.push_tuple(m.stack.pop_many(3)); };                 // TUPLE3
  table['a'] = [](Machine& m) { m.stack.append(m.stack.pop_many(1)); };                      // APPEND
  table['e'] = [](Machine& m) { m.stack.append(m.stack.pop_to_mark()); };                    // APPENDS
  table['s'] = [](Machine& m) { m.stack.set_items(m.stack.pop_many(2)); };                   // SETITEM
  table['u'] = [](Machine& m) { m.stack.set_items(m.stack.pop_to_mark()); };                 // SETITEMS
  table['q'] = [](Machine& m) { m.stack.remember(m.in.number<uint8_t>()); };                 // BINPUT
  table['r'] = [](Machine& m) { m.stack.remember(m.in.number<uint32_t>()); };                // LONG_BINPUT
  table[0x94] = [](Machine& m) { m.stack.remember_next(); };                                 // MEMOIZE
  table['h'] = [](Machine& m) { m.stack.recall(m.in.number<uint8_t>()); };                   // BINGET
  table['j'] = [](Machine& m) { m.stack.recall(m.in.number<uint32_t>()); };                  // LONG_BINGET
  table['c'] = [](Machine& m) { m.push_named_global(); };                                    // GLOBAL
  table[0x93] = [](Machine& m) { m.push_global_of_stack(); };                                // STACK_GLOBAL
  table['Q'] = [](Machine& m) { m.push_storage(); };                                         // BINPERSID
  table['R'] = [](Machine& m) { m.reduce(); };                                               // REDUCE
  table[0x81] = [](Machine& m) { m.new_object(); };                                          // NEWOBJ
  table['b'] = [](Machine& m) { m.build(); };                                                // BUILD
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
