#include "hostile_checkpoints.h"

#include <fmt/format.h>

#include "support/pth_writer.h"

namespace lasnet::test {
namespace {

std::string repeated(const std::string& text, size_t count) {
  std::string result;
  result.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) result += text;
  return result;
}

class Catalogue {
 public:
  Catalogue(const Weights& weights, std::string trace) : weights_(weights), trace_(std::move(trace)) {}

  std::vector<HostileCheckpoint> take() {
    add_code();
    add_opcodes();
    add_bombs();
    add_broken_pickles();
    add_broken_tensors();
    add_broken_archives();
    add_other_files();
    return std::move(all_);
  }

 private:
  void add(const std::string& name, const std::string& bytes, const std::string& message) {
    all_.push_back({name, bytes, message});
  }

  /// A whole checkpoint around a pickle.
  void add_pickle(const std::string& name, const std::string& pickle, const std::string& message) {
    add(name, make_zip(checkpoint_items(pickle, weights_)), message);
  }

  /// A good state dict whose additional entry is made by `extra`.
  void add_beside(const std::string& name, const std::string& extra, const std::string& message) {
    add_pickle(name, Pickle().raw("}(").entries(weights_).text("extra").raw(extra + "u").done(), message);
  }

  /// A good state dict whose fc.bias refers to its storage so.
  void add_tensor(const std::string& name, PickledTensor tensor, const std::string& message) {
    Weights others = weights_;
    others.erase("fc.bias");
    if (tensor.key.empty()) tensor.key = "bias";
    auto items = checkpoint_items(
        Pickle().raw("}(").entries(others).text("fc.bias").tensor(tensor).raw("u").done(), others);
    items.push_back({.name = "archive/data/bias", .bytes = std::string(8, '\0')});
    add(name, make_zip(items), message);
  }

  /// A good archive whose second item, a storage, is changed.
  template <typename Change>
  void add_archive(const std::string& name, Change change, const std::string& message) {
    auto items = good_items();
    change(items);
    add(name, make_zip(items), message);
  }

  std::vector<ZipItem> good_items() const { return checkpoint_items(state_dict_pickle(weights_), weights_); }

  /// A call without the protocol: module.name(command).
  static std::string call(const std::string& module, const std::string& name, const std::string& argument) {
    return Pickle()
        .global(module, name)
        .raw("(")
        .text(argument)
        .raw("tR")
        .done()
        .substr(2, std::string::npos);
  }

  std::string without_stop(std::string pickle) const {
    pickle.pop_back();
    return pickle;
  }

  void add_code() {
    const std::string command = "touch " + trace_;
    const std::string python = fmt::format("open({:?}, 'w')", trace_);
    add_beside("os_system", without_stop(call("os", "system", command)), "names the global 'os.system'");
    add_beside("posix_system", without_stop(call("posix", "system", command)), "'posix.system'");
    add_beside("eval", without_stop(call("builtins", "eval", python)), "'builtins.eval'");
    add_beside("exec_python2", without_stop(call("__builtin__", "exec", python)), "'__builtin__.exec'");
    add_beside("torch_load", without_stop(call("torch", "load", trace_)), "'torch.load'");
    add_beside("attribute_of_an_allowed_module",
               without_stop(call("collections", "OrderedDict.__init__.__globals__", "x")),
               "'collections.OrderedDict.__init__.__globals__'");
    std::string stacked =
        Pickle().text("subprocess").text("getoutput").raw("\x93(").text(command).raw("tR").done();
    add_beside("stack_global", without_stop(stacked.substr(2)), "'subprocess.getoutput'");
    add_pickle("terminal_escape", Pickle().global("os\x1b[2J", "x").raw(")R").done(),
               "it holds a os\\x1b[2J.x, expected a state dict");
    add_pickle("code_before_the_weights",
               Pickle().global("os", "system").raw("(").text(command).raw("tR").done(), "'os.system'");
  }

  void add_opcodes() {
    const std::string command = "touch " + trace_;
    add_beside("inst", "(X\x01" + std::string(3, '\0') + "xios\nsystem\n", "opcode INST");
    add_beside("obj", "(" + without_stop(Pickle().global("torch", "device").raw("o").done()).substr(2),
               "opcode OBJ");
    add_beside("extension", "\x82\x01", "opcode EXT1");
    add_beside("persistent_id_as_text", "Parchive\n", "opcode PERSID");
    add_beside("no_opcode", "\x07", "opcode 0x07");
    add_beside("call_of_a_type", without_stop(call("torch", "FloatStorage", "x")),
               "calls 'torch.FloatStorage' (REDUCE)");
    add_beside("call_of_a_string", without_stop(Pickle().text(command).raw(")R").done()).substr(2),
               "calls a string (REDUCE)");
    add_beside("new_object",
               without_stop(Pickle().global("collections", "OrderedDict").raw(")\x81").done()).substr(2),
               "makes an instance of 'collections.OrderedDict'");
    add_beside("state_of_a_list", "]}b", "sets the state of a list (BUILD)");
    add_beside("state_of_a_function",
               without_stop(Pickle().global("torch._utils", "_rebuild_tensor_v2").raw("}b").done()).substr(2),
               "sets the state of torch._utils._rebuild_tensor_v2 (BUILD)");
    add_beside("item_of_a_tuple", ")NNs", "sets items of a tuple");
    add_beside("append_to_a_dict", "}Na", "appends to a dict");
  }

  void add_bombs() {
    add_pickle("memo_bomb", Pickle().raw(memo_bomb()).done(), "it holds a list");
    add_beside("memo_key", std::string("Nr\xff\xff\xff\xff", 6), "values in its memo");
    add_beside("deep_tuples", "N" + repeated("\x85", 100'000), "levels of nesting");
    add_beside("deep_lists", repeated("]", 90'000) + repeated("a", 89'999), "levels of nesting");
    add_beside("high_stack", repeated("]", 200'000), "values on its stack");
    add_beside("marks", repeated("(", 200'000), "values on its stack");
    add_beside("many_values", "]" + repeated("(" + repeated("N", 1000) + "e", 500),
               "more than 400000 values");
    add_beside("many_opcodes",
               "](Nq\x01"
               "e" +
                   repeated("(" + repeated("h\x01", 1000) + "e", 2100),
               "more than 2000000 opcodes");
    add_beside("large_pickle", "B" + std::string("\0\0\x10\x01", 4) + std::string(0x1100000, 'x'),
               "expected at most");
    add_beside("string_of_4_gb", "X\xff\xff\xff\xffx", "bytes are needed");
    add_beside("frame_of_exabytes", "\x95" + repeated("\xff", 8) + "N", "a frame is longer");
  }

  void add_broken_pickles() {
    add_beside("memo_never_set", "h\x63", "memo key 99 was never set");
    add_pickle("empty_stack", Pickle().raw("s").done(), "stack is empty");
    add_pickle("missing_mark", Pickle().raw("t").done(), "a mark is missing");
    add_pickle("values_left", Pickle().raw("}N").done(), "values left on its stack");
    add_pickle("no_stop", without_stop(state_dict_pickle(weights_)), "0 are left");
    add_pickle("bytes_after_stop", state_dict_pickle(weights_) + "cos\nsystem\n", "bytes follow its end");
    add_pickle("protocol_9", Pickle(9).raw("}").done(), "protocol 9");
    add_pickle("unbounded_name", Pickle().raw("c" + std::string(5000, 'a')).done(), "name of a global");
    add_beside("odd_items", "}(Nu", "a key has no value");
    add_pickle("number", Pickle().integer(7).done(), "it holds an integer, expected a state dict");
    add_pickle("no_tensors", Pickle().raw("}").text("epoch").raw("K\x03s").done(), "'epoch' (an integer)");
    add_pickle("name_twice",
               Pickle().raw("}(").entries(weights_).entries(weights_, "module.").raw("u").done(),
               "occurs twice");
    add_beside("persistent_id_of_a_module", "(X\x06" + std::string(3, '\0') + "moduleNNNNtQ",
               "a persistent id is not");
    add_beside("persistent_id_is_no_tuple", "NQ", "a persistent id is None");
  }

  void add_broken_tensors() {
    constexpr int64_t kHuge = int64_t{1} << 62;
    add_tensor("offset_beyond_the_storage", {.shape = {2}, .offset = 1}, "leaves its storage");
    add_tensor("shape_beyond_the_storage", {.shape = {2}, .strides = Shape{3}}, "leaves its storage");
    add_tensor("negative_offset", {.shape = {2}, .offset = -1}, "is impossible");
    add_tensor("negative_size", {.shape = {-2}, .count = 2}, "is impossible");
    add_tensor("negative_stride", {.shape = {2}, .strides = Shape{-1}}, "is impossible");
    add_tensor("missing_strides", {.shape = {2}, .strides = Shape{}}, "is impossible");
    add_tensor("overflowing_shape", {.shape = {kHuge, 4}, .strides = Shape{0, 0}, .count = 2},
               "does not fit 64 bits");
    add_tensor("overflowing_strides", {.shape = {5}, .strides = Shape{kHuge}}, "does not fit 64 bits");
    add_tensor("overflowing_offset", {.shape = {2}, .offset = INT64_MAX}, "does not fit 64 bits");
    add_tensor("expand_bomb", {.shape = {int64_t{1} << 40}, .strides = Shape{0}, .count = 2},
               "shape      fc.bias: expected [2], got [1099511627776]");
    add_tensor("rank_100", {.shape = Shape(100, 1), .count = 2}, "at most 16");
    add_tensor("negative_storage", {.shape = {2}, .count = -2}, "is impossible");
    add_tensor("overflowing_storage", {.shape = {2}, .count = INT64_MAX}, "is impossible");
    add_tensor("storage_too_small", {.shape = {2}, .count = 3}, "of 8 bytes, its pickle says 12");
    add_tensor("storage_missing", {.key = "none", .shape = {2}}, "storage 'none' of 'fc.bias' is missing");
    add_tensor("storage_elsewhere", {.key = "../data.pkl", .shape = {2}}, "is missing");
    add_tensor("integers", {.shape = {1}, .storage = "LongStorage"}, "shape      fc.bias");
    add_tensor("integers_of_the_right_shape", {.shape = {2}, .storage = "IntStorage"},
               "tensor 'fc.bias' holds int32");
  }

  void add_broken_archives() {
    add_archive(
        "local_size_differs", [](auto& items) { items[1].local_size = 7; }, "differs from the directory");
    add_archive(
        "local_name_differs", [](auto& items) { items[1].local_name = "archive/data/x"; },
        "differs from the directory");
    add_archive(
        "entry_of_4_gb", [](auto& items) { items[1].size = 0xfffffff0; }, "leaves the file");
    add_archive(
        "entry_of_1_tb",
        [](auto& items) {
          items[1].wide_size = uint64_t{1} << 40;
          items[1].flags = 8;  // sizes in the directory alone
          items[1].local_size = 0;
        },
        "differs from the directory");
    add_archive(
        "overlapping_entries",
        [](auto& items) { items[1].size = static_cast<uint32_t>(items[1].bytes.size() + 8); }, "overlaps");
    add_archive(
        "path_traversal",
        [](auto& items) { items.push_back({.name = "archive/../../../etc/passwd", .bytes = "x"}); },
        "not a plain relative path");
    add_archive(
        "absolute_path", [](auto& items) { items.push_back({.name = "/etc/passwd", .bytes = "x"}); },
        "not a plain relative path");
    add_archive(
        "backslashes", [](auto& items) { items.push_back({.name = "..\\x", .bytes = "x"}); },
        "not a plain relative path");
    add_archive(
        "duplicate_entry", [](auto& items) { items.push_back(items[1]); }, "appears twice");
    add_archive(
        "compressed_entry", [](auto& items) { items[1].method = 8; }, "is compressed (method 8)");
    add_archive(
        "encrypted_entry", [](auto& items) { items[1].flags = 1; }, "is encrypted");
    add_archive(
        "damaged_storage", [](auto& items) { items[1].crc = 1; }, "CRC-32");
    add_archive(
        "damaged_pickle", [](auto& items) { items[0].crc = 1; }, "CRC-32");
    add_archive(
        "big_endian", [](auto& items) { items.push_back({.name = "archive/byteorder", .bytes = "big"}); },
        "its byte order is 'big'");
    add_archive(
        "two_pickles", [](auto& items) { items.push_back({.name = "b/data.pkl", .bytes = "N."}); },
        "it has two pickles");
    add_archive(
        "no_pickle", [](auto& items) { items.erase(items.begin()); }, "it has no <name>/data.pkl");
    add_archive(
        "torchscript", [](auto& items) { items.push_back({.name = "archive/constants.pkl", .bytes = "N."}); },
        "TorchScript");
    add("fewer_entries_than_said", make_zip(good_items(), {.entries = 60'000}), "cut short");
    add("more_entries_than_said", make_zip(good_items(), {.entries = 1}), "surplus bytes");
    add("directory_elsewhere", make_zip(good_items(), {.directory_begin = 12}), "a directory of");
    add("bytes_after_the_archive", make_zip(good_items()) + "x", "does not end with its directory");
  }

  void add_other_files() {
    add("empty", "", "0 bytes");
    add("text", "Once upon a time", "neither a .safetensors file nor a PyTorch checkpoint");
    add("legacy", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "from before 1.6");
    add("bare_pickle", Pickle().raw("}").done(), "a bare Python pickle");
    add("tar", std::string(257, 'a') + "ustar" + std::string(300, '\0'), "from before 0.2");
    add("gzip", std::string("\x1f\x8b\x08\x00 and more", 13), "compressed by gzip");
    add("empty_archive", make_zip({}), "it has no <name>/data.pkl");
  }

  const Weights& weights_;
  std::string trace_;
  std::vector<HostileCheckpoint> all_;
};

}  // namespace

std::string memo_bomb() {
  std::string opcodes = "](]q\x01";
  for (char level = 2; level < 62; ++level) {
    opcodes.append("]q").append(1, level).append("(");
    for (int i = 0; i < 10; ++i) opcodes.append("h").append(1, static_cast<char>(level - 1));
    opcodes.append("e");
  }
  return opcodes.append("e");
}

std::vector<HostileCheckpoint> hostile_checkpoints(const Weights& weights, const std::string& trace) {
  return Catalogue(weights, trace).take();
}

}  // namespace lasnet::test
