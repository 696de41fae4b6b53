// Checkpoints by PyTorch itself (data/, made by scripts/make_pth_fixtures.py) and by
// tests/support/pth_writer.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <functional>

#include "formats/npy.h"
#include "formats/pytorch/pytorch_file.h"
#include "formats/pytorch/unpickler.h"
#include "formats/safetensors.h"
#include "support/expect_error.h"
#include "support/pth_writer.h"
#include "support/random_model.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// Over the caller's bytes, which must outlive it.
PyTorchFile parse(const std::string& archive) {
  return PyTorchFile(ByteSource::memory(bytes_of(archive), "x.pth"));
}

PickleData parse_pickle(const std::string& pickle) { return unpickle(bytes_of(pickle), "x.pkl"); }

// Fixtures.

std::string fixture(const std::string& version, const std::string& name) {
  return std::string(LASNET_TEST_DATA) + "/torch-" + version + "/" + name;
}

/// Every floating-point tensor of the file.
Weights read_all(const std::string& path) {
  const auto file = open_weight_file(path);
  Weights weights;
  for (const auto& [name, stored] : file->tensors()) {
    if (stored.is_float) weights[name] = file->read(name);
  }
  return weights;
}

void expect_same_bits(const Weights& got, const Weights& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_EQ(got.at(name).shape, tensor.shape) << name;
    for (size_t i = 0; i < tensor.data.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got.at(name).data[i]), std::bit_cast<uint32_t>(tensor.data[i]))
          << name << "[" << i << "]";
    }
  }
}

class SavedByPyTorch : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(SavedByPyTorch, IsReadBitForBit) {
  const auto [version, name] = GetParam();
  const Weights expected = read_safetensors(fixture(version, name + std::string(".safetensors"))).tensors;
  ASSERT_FALSE(expected.empty());
  expect_same_bits(read_all(fixture(version, name + std::string(".pth"))), expected);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, SavedByPyTorch,
                         testing::Combine(testing::Values("1.13", "2.15"),
                                          testing::Values("ordered", "plain", "parameters", "nested",
                                                          "nested_model", "parallel", "half", "bfloat16",
                                                          "double", "strided", "shared", "integers")),
                         [](const auto& test) {
                           std::string version(std::get<0>(test.param));
                           std::replace(version.begin(), version.end(), '.', '_');
                           return version.append("_").append(std::get<1>(test.param));
                         });

class PyTorchVersion : public testing::TestWithParam<const char*> {};

TEST_P(PyTorchVersion, IntegersAreDescribedButNotRead) {
  const auto file = open_weight_file(fixture(GetParam(), "integers.pth"));
  EXPECT_EQ(file->tensors().at("steps").dtype, "int64");
  EXPECT_EQ(file->tensors().at("flags").dtype, "bool");
  EXPECT_FALSE(file->tensors().at("bytes").is_float);
  EXPECT_ERROR(file->read("short"), HasSubstr("tensor 'short' holds int16, expected floating point"));
}

TEST_P(PyTorchVersion, AWholeNetworkWithItsMaskersLoads) {
  const std::string path = fixture(GetParam(), "resnet18.pth");
  const ArchConfig arch{.name = "resnet18",
                        .width = 0.125,
                        .classes = stored_classes(path).value(),
                        .stem = StemKind::small,
                        .granularity = {4, 4, 2, 1}};
  EXPECT_EQ(arch.classes, 3);
  const Model model = load_model(path, arch);
  EXPECT_EQ(model.weights.at("fc.weight"), load_npy_f32(fixture(GetParam(), "resnet18_fc.npy")));
  EXPECT_EQ(model.weights.at("layer1.0.masker.conv2.bias").data, (std::vector<float>{0, 0}));
  EXPECT_EQ(model.weights.size(), required_tensors(model.spec).size());
  EXPECT_EQ(model.preprocessing, Preprocessing{});
}

TEST_P(PyTorchVersion, OtherFilesOfPyTorchAreNamed) {
  EXPECT_ERROR(open_weight_file(fixture(GetParam(), "legacy.pth")),
               AllOf(HasSubstr("from before 1.6"), HasSubstr("torch.save(torch.load(")));
  EXPECT_ERROR(open_weight_file(fixture(GetParam(), "torchscript.pt")),
               AllOf(HasSubstr("TorchScript"), HasSubstr("state_dict()")));
  const std::string module = fixture(GetParam(), "whole_module.pth");
  EXPECT_ERROR(
      open_weight_file(module),
      AllOf(HasSubstr("it holds a torch.nn.modules.container.Sequential, expected a state dict"),
            HasSubstr("Nothing was executed"), HasSubstr("python3 -c"), HasSubstr("' " + module + " ")));
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PyTorchVersion, testing::Values("1.13", "2.15"),
                         [](const auto& test) { return std::string(test.param).substr(0, 1); });

// What a network makes of a checkpoint.

ArchConfig small_arch() {
  return {
      .name = "resnet18", .width = 0.125, .classes = 3, .stem = StemKind::small, .granularity = {4, 4, 2, 1}};
}

std::string save_checkpoint(const TemporaryDir& dir, const Weights& weights) {
  write_text(dir / "m.pth", make_zip(checkpoint_items(state_dict_pickle(weights), weights)));
  return dir / "m.pth";
}

TEST(PyTorchModel, LoadsWithItsMaskersAndWithFreshOnes) {
  TemporaryDir dir;
  const Model model = random_model(small_arch(), 1);
  EXPECT_EQ(load_model(save_checkpoint(dir, model.weights), small_arch()).weights, model.weights);

  ArchConfig fixed = small_arch();
  fixed.granularity = {};
  const Weights plain = random_model(fixed, 1).weights;
  EXPECT_EQ(load_model(save_checkpoint(dir, plain), fixed).weights, plain);
  const Model fresh = load_model(dir / "m.pth", small_arch());
  EXPECT_EQ(fresh.weights.at("layer1.0.masker.conv2.bias").data, (std::vector<float>{5, 0}));
  EXPECT_EQ(fresh.origin.fresh_maskers, 8);
}

TEST(PyTorchModel, NeedsAnArchitecture) {
  TemporaryDir dir;
  const std::string path = save_checkpoint(dir, random_model(small_arch(), 1).weights);
  EXPECT_EQ(described_architecture(path), std::nullopt);
  EXPECT_ERROR(load_model(path), AllOf(HasSubstr(path), HasSubstr("give its architecture")));
}

TEST(PyTorchModel, ListsAllBadTensorsTogether) {
  TemporaryDir dir;
  Weights weights = random_model(small_arch(), 1).weights;
  weights["layer1.0.conv1.weights"] = std::move(weights.at("layer1.0.conv1.weight"));
  weights.erase("layer1.0.conv1.weight");
  weights["bn1.bias"] = Tensor({3});
  EXPECT_ERROR(
      load_model(save_checkpoint(dir, weights), small_arch()),
      AllOf(HasSubstr("missing    layer1.0.conv1.weight"), HasSubstr("the file has 'layer1.0.conv1.weights'"),
            HasSubstr("bn1.bias: expected [8], got [3]"), HasSubstr("unexpected layer1.0.conv1.weights")));
}

// The archive.

Weights two_tensors() {
  Tensor a({2, 3}), b({4}, 0.5f);
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] = static_cast<float>(i) - 2.5f;
  return {{"a", a}, {"b", b}};
}

TEST(PyTorchFile, ReadsArchivesWithAndWithoutZip64Records) {
  const Weights weights = two_tensors();
  for (bool zip64 : {false, true}) {
    const std::string archive =
        make_zip(checkpoint_items(state_dict_pickle(weights), weights), {.zip64 = zip64});
    PyTorchFile file = parse(archive);
    for (const auto& [name, tensor] : weights) EXPECT_EQ(file.read(name), tensor) << name << zip64;
  }
}

TEST(PyTorchFile, ReadsSizesOfTheZip64ExtraField) {
  const Weights weights = two_tensors();
  auto items = checkpoint_items(state_dict_pickle(weights), weights);
  items[1].wide_size = items[1].bytes.size();
  EXPECT_EQ(parse(make_zip(items)).read("a"), weights.at("a"));
  *items[1].wide_size += uint64_t{1} << 32;
  EXPECT_ERROR(parse(make_zip(items)), HasSubstr("differs from the directory"));
}

TEST(PyTorchFile, RefusesEveryTruncationAndTrailingBytes) {
  const Weights weights = two_tensors();
  const std::string archive =
      make_zip(checkpoint_items(state_dict_pickle(weights), weights), {.zip64 = true});
  for (size_t size = 0; size < archive.size(); ++size) {
    EXPECT_ERROR(parse(archive.substr(0, size)), HasSubstr("x.pth: ")) << size;
  }
  EXPECT_ERROR(parse(archive + '\0'), HasSubstr("truncated or damaged"));
}

TEST(PyTorchFile, CompressedAndUncheckedArchivesAreSaidHowToSaveAgain) {
  const Weights weights = two_tensors();
  const auto good = checkpoint_items(state_dict_pickle(weights), weights);
  auto items = good;
  items[1].method = 8;
  EXPECT_ERROR(parse(make_zip(items)), AllOf(HasSubstr("is compressed"), HasSubstr("python3 -c '"),
                                             HasSubstr("' x.pth x.weights.pth")));
  items = good;
  items[1].crc = 1;
  const std::string unchecked = make_zip(items);
  PyTorchFile file = parse(unchecked);
  EXPECT_ERROR(file.read("a"),
               AllOf(HasSubstr("set_crc32_options(False)"), HasSubstr("' x.pth x.weights.pth")));
}

TEST(PyTorchFile, EveryFlippedBitOfAStorageIsNoticed) {
  const Weights weights = two_tensors();
  const std::string archive = make_zip(checkpoint_items(state_dict_pickle(weights), weights));
  const std::string values(reinterpret_cast<const char*>(weights.at("a").data.data()), 24);
  const size_t begin = archive.find(values);
  ASSERT_NE(begin, std::string::npos);
  for (size_t bit = 0; bit < 24 * 8; ++bit) {
    std::string damaged = archive;
    damaged[begin + bit / 8] = static_cast<char>(damaged[begin + bit / 8] ^ (1 << bit % 8));
    PyTorchFile file = parse(damaged);
    EXPECT_EQ(file.read("b"), weights.at("b"));
    EXPECT_ERROR(file.read("a"), HasSubstr("CRC-32")) << bit;
  }
}

/// A view with one more argument of its rebuilding, "}X...": a dict of properties.
std::string with_more(const std::string& opcodes, const Weights& weights) {
  Pickle pickle;
  pickle.raw("}(").text("a").tensor({.key = "0", .shape = {2, 3}, .more = opcodes});
  pickle.text("b").tensor({.key = "1", .shape = {4}}).raw("u");
  return make_zip(checkpoint_items(pickle.done(), weights));
}

TEST(PyTorchFile, NegatedViewsAreNegated) {
  const Weights weights = two_tensors();
  const std::string archive = with_more(opcodes_of_property("neg"), weights);
  PyTorchFile file = parse(archive);
  Tensor expected = weights.at("a");
  for (float& value : expected.data) value = -value;
  EXPECT_EQ(file.read("a"), expected);
  EXPECT_EQ(file.read("b"), weights.at("b"));
  const std::string plain = with_more("N", weights),
                    off = with_more("}" + opcodes_of("neg") + "\x89s", weights);
  EXPECT_EQ(parse(plain).read("a"), weights.at("a"));
  EXPECT_EQ(parse(off).read("a"), weights.at("a"));
}

TEST(PyTorchFile, WhatMayChangeValuesAndIsUnknownIsRefusedByName) {
  const Weights weights = two_tensors();
  const std::pair<std::string, const char*> cases[] = {
      {opcodes_of_property("scaled"), "tensor 'a' has the property 'scaled'"},
      {opcodes_of_property("conj"), "tensor 'a' has the property 'conj'"},
      {"}N\x88s", "tensor 'a' has the property 'None'"},
      {"K\x01", "tensor 'a' has properties that are an integer"},
      {"NN", "tensor 'a' is made of 8 arguments, of which 7 are known"}};
  for (const auto& [more, message] : cases) {
    const std::string archive = with_more(more, weights);
    PyTorchFile file = parse(archive);
    EXPECT_ERROR(file.read("a"), HasSubstr(message));
    EXPECT_EQ(file.read("b"), weights.at("b")) << "others are read";
  }
}

TEST(PyTorchFile, ParametersWithStateAndBuffersAreTensors) {
  const Weights weights = two_tensors();
  const PickledTensor a{.key = "0", .shape = {2, 3}}, b{.key = "1", .shape = {4}};
  Pickle pickle;
  pickle.raw("}(").text("a").global("torch._utils", "_rebuild_parameter_with_state").raw("(");
  pickle.tensor(a).raw("\x88}" + opcodes_of_property("_is_hf") + "tR");
  // nn.Buffer: a tensor with attributes of its own.
  std::string call = Pickle().tensor(b).done();
  call = call.substr(2, call.size() - 3);  // without protocol and STOP
  call = call.substr(call.find('('));      // the arguments alone
  call = call.substr(0, call.size() - 1);  // without REDUCE
  pickle.text("b").global("torch._tensor", "_rebuild_from_type_v2").raw("(");
  pickle.global("torch._utils", "_rebuild_tensor_v2").global("torch.nn.parameter", "Buffer").raw(call);
  pickle.raw(opcodes_of_property("persistent") + "tRu");
  const std::string archive = make_zip(checkpoint_items(pickle.done(), weights));
  PyTorchFile file = parse(archive);
  EXPECT_EQ(file.read("a"), weights.at("a"));
  EXPECT_EQ(file.read("b"), weights.at("b"));
}

/// Weights, and beside them what `opcodes` make.
std::string with_beside(const std::string& opcodes, const Weights& weights) {
  Pickle pickle;
  pickle.raw("}(").text("state_dict").raw("}(").entries(weights).raw("u").text("beside").raw(opcodes + "u");
  return make_zip(checkpoint_items(pickle.done(), weights));
}

TEST(PyTorchFile, WhatLiesBesideTheWeightsIsSkipped) {
  const Weights weights = two_tensors();
  const auto named = [](const std::string& module, const std::string& name) {
    return "c" + module + "\n" + name + "\n";
  };
  const std::string four = std::string("\x04\0\0\0", 4), eight = std::string("\x01\0\0\0\0\0\0\0", 8);
  const std::pair<const char*, std::string> cases[] = {
      {"set of protocol 2", named("__builtin__", "set") + "(](K\x01K\x02" + "etR"},
      {"set of protocol 4", "\x8f(K\x01\x90"},
      {"frozenset", "(K\x01\x91"},
      {"complex", named("__builtin__", "complex") + "(K\x01K\x02tR"},
      {"bytearray", "\x96" + eight + "x"},
      {"bytearray of protocol 2", named("__builtin__", "bytearray") + "(K\x02tR"},
      {"long bytes", "\x8e" + eight + "x"},
      {"long text", "\x8d" + eight + "x"},
      {"long integer", "\x8b" + four + "\x01\x02\x03\x04"},
      {"dtype", named("torch", "complex64")},
      {"float8", named("torch", "float8_e4m3fn")},
      {"layout", named("torch.serialization", "_get_layout") + "(" + opcodes_of("torch.strided") + "tR"},
      {"AttributeDict",
       named("lightning_fabric.utilities.data", "AttributeDict") + ")\x81(" + opcodes_of("lr") + "K\x01u}b"},
      {"path", named("pathlib", "PosixPath") + "(" + opcodes_of("/") + "tR"},
      {"Namespace", named("argparse", "Namespace") + ")\x81" + opcodes_of_property("amp") + "b"},
      {"defaultdict",
       named("collections", "defaultdict") + "(" + named("__builtin__", "list") + "tR(K\x01K\x02u"},
      {"keywords", named("some.module", "Class") + ")}\x92"},
      {"sparse", named("torch._utils", "_rebuild_sparse_tensor") + "(NNtR"},
      {"quantized", named("torch._utils", "_rebuild_qtensor") + "(NtR"},
      {"meta", named("torch._utils", "_rebuild_meta_tensor_no_storage") + "(NtR"},
      {"nested", named("torch._utils", "_rebuild_nested_tensor") + "(NtR"},
      {"a whole module", named("torch.nn.modules.linear", "Linear") + ")\x81}b"},
      {"complex storage", "(" + opcodes_of("storage") + named("torch", "ComplexFloatStorage") +
                              opcodes_of("9") + opcodes_of("cpu") + "K\x04tQ"},
      {"popped", "N0N"},
      {"member of an Enum",
       named("__builtin__", "getattr") + "(" + named("some.module", "Colour") + opcodes_of("RED") + "tR"},
      {"popped to a mark", "N(N1"},
      {"doubled", "N20"}};
  for (const auto& [name, opcodes] : cases) {
    SCOPED_TRACE(name);
    const std::string archive = with_beside(opcodes, weights);
    EXPECT_EQ(parse(archive).read("a"), weights.at("a"));
  }
}

TEST(PyTorchFile, AttacksAreRefusedWhereverTheyAre) {
  const Weights weights = two_tensors();
  for (const char* global :
       {"cos\nsystem\n", "cbuiltins\neval\n", "csubprocess\nrun\n", "cos.path\njoin\n"}) {
    EXPECT_ERROR(parse(with_beside(global, weights)), HasSubstr("can act on the machine")) << global;
  }
}

TEST(PyTorchFile, ASparseWeightIsRefusedByName) {
  TemporaryDir dir;
  const Weights weights = random_model(small_arch(), 1).weights;
  Weights others = weights;
  others.erase("conv1.weight");
  Pickle pickle;
  pickle.raw("}(").entries(others).text("conv1.weight").global("torch._utils", "_rebuild_sparse_tensor");
  write_text(dir / "m.pth", make_zip(checkpoint_items(pickle.raw("(NNtRu").done(), others)));
  EXPECT_ERROR(load_model(dir / "m.pth", small_arch()),
               AllOf(HasSubstr("tensor 'conv1.weight' is made by 'torch._utils._rebuild_sparse_tensor'"),
                     HasSubstr("to_dense")));
}

/// Keys with a state dict each, whose weights are `weights` plus their place.
std::string several(const std::vector<std::string>& keys, const Weights& weights, Weights& stored) {
  Pickle pickle;
  pickle.raw("}(");
  int key = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    pickle.text(keys[i]).raw("}(");
    for (const auto& [name, tensor] : weights) {
      Tensor moved = tensor;
      for (float& value : moved.data) value += static_cast<float>(i);
      stored[fmt::format("{:05}", key)] = moved;
      pickle.text(name).tensor({.key = std::to_string(key++), .shape = tensor.shape});
    }
    pickle.raw("u");
  }
  return pickle.raw("u").done();
}

class StateDicts : public testing::Test {
 protected:
  std::string save(const std::vector<std::string>& keys) {
    Weights stored;
    const std::string pickle = several(keys, weights_, stored);
    write_text(dir_ / "m.pth", make_zip(checkpoint_items(pickle, stored)));
    return dir_ / "m.pth";
  }

  TemporaryDir dir_;
  Weights weights_ = random_model(small_arch(), 1).weights;
};

TEST_F(StateDicts, TheUsualOneIsReadAndTheOthersAreSaid) {
  for (const auto& [usual, other] : {std::pair{"state_dict", "state_dict_ema"}, {"model", "model_ema"}}) {
    const std::string path = save({usual, other});
    const Model raw = load_model(path, small_arch());
    EXPECT_EQ(raw.weights, weights_);
    EXPECT_EQ(raw.origin.state_dict, usual);
    EXPECT_EQ(raw.origin.other_state_dicts, std::vector<std::string>{other});
    const Model averaged = load_model(path, small_arch(), other);
    EXPECT_EQ(averaged.weights.at("fc.bias").data[0], weights_.at("fc.bias").data[0] + 1);
    EXPECT_EQ(averaged.origin.state_dict, other);
    EXPECT_EQ(averaged.origin.other_state_dicts, std::vector<std::string>{usual});
    EXPECT_EQ(stored_classes(path, other), 3);
  }
}

TEST_F(StateDicts, TheOnlyOneIsReadWhateverItsName) {
  for (const char* name : {"state_dict_ema", "model_ema", "ema", "weights", "net"}) {
    const Model model = load_model(save({name}), small_arch());
    EXPECT_EQ(model.weights, weights_);
    EXPECT_EQ(model.origin.state_dict, name);
    EXPECT_TRUE(model.origin.other_state_dicts.empty());
  }
}

TEST_F(StateDicts, WhereSeveralCouldBeMeantOneHasToBeNamed) {
  const std::string path = save({"student", "teacher"});
  EXPECT_ERROR(load_model(path, small_arch()), HasSubstr("several state dicts: 'student', 'teacher'"));
  EXPECT_EQ(load_model(path, small_arch(), "student").weights, weights_);
  EXPECT_ERROR(load_model(path, small_arch(), "ema"),
               HasSubstr("no state dict 'ema'; it has 'student', 'teacher'"));
}

TEST_F(StateDicts, AListOrTupleCanHoldOne) {
  for (const char* end : {"t", "l"}) {
    const std::string pickle = Pickle().raw("(K\x03}(").entries(weights_).raw("u}" + std::string(end)).done();
    write_text(dir_ / "m.pth", make_zip(checkpoint_items(pickle, weights_)));
    const Model model = load_model(dir_ / "m.pth", small_arch());
    EXPECT_EQ(model.weights, weights_);
    EXPECT_EQ(model.origin.state_dict, "1");
  }
}

/// A remedy that could not work is worse than none.
TEST_F(StateDicts, WhereThereAreNoWeightsNoneAreSavedAlone) {
  const std::string pickles[] = {Pickle().raw("}").done(), Pickle().raw("}").text("a").raw("K\x01s").done(),
                                 Pickle().tensor({.key = "0", .shape = {1}}).done()};
  for (const std::string& pickle : pickles) {
    write_text(dir_ / "m.pth", make_zip(checkpoint_items(pickle, weights_)));
    EXPECT_ERROR(load_model(dir_ / "m.pth", small_arch()),
                 AllOf(HasSubstr("state dict"), testing::Not(HasSubstr("python3 -c"))));
  }
}

TEST_F(StateDicts, AnOptimiserIsNone) {
  Pickle pickle;
  pickle.raw("}(").text("optimizer").raw("}(").text("exp_avg").tensor({.key = "0", .shape = {1}}).raw("u");
  pickle.text("net").raw("}(").entries(weights_).raw("uu");
  write_text(dir_ / "m.pth", make_zip(checkpoint_items(pickle.done(), weights_)));
  EXPECT_ERROR(load_model(dir_ / "m.pth", small_arch(), "optimizer.exp_avg"), HasSubstr("no state dict"));
  EXPECT_EQ(load_model(dir_ / "m.pth", small_arch()).origin.other_state_dicts.size(), 0u);
}

// Names.

/// The weights under other names.
Weights renamed(const Weights& weights, const std::function<std::string(const std::string&)>& rename) {
  Weights result;
  for (const auto& [name, tensor] : weights) result[rename(name)] = tensor;
  return result;
}

TEST(TensorNames, AnyPrefixThatAllShareIsTakenOff) {
  TemporaryDir dir;
  const Weights weights = random_model(small_arch(), 1).weights;
  for (const char* prefix :
       {"module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "encoder.", "net.", "student.",
        "model.model.", "my.own.net.", "model.module.net._orig_mod."}) {
    Weights prefixed = renamed(weights, [&](const std::string& name) { return prefix + name; });
    EXPECT_EQ(load_model(save_checkpoint(dir, prefixed), small_arch()).weights, weights) << prefix;
    write_safetensors({prefixed, {}}, dir / "m.safetensors", DType::f32);
    const Model model = load_model(dir / "m.safetensors", small_arch());
    EXPECT_EQ(model.weights, weights) << prefix;
    EXPECT_EQ(stored_classes(dir / "m.safetensors"), 3) << prefix;
  }
  const Weights compiled = renamed(weights, [](std::string name) {
    if (name.starts_with("layer1.")) name.insert(7, "_orig_mod.");
    return name;
  });
  EXPECT_EQ(load_model(save_checkpoint(dir, compiled), small_arch()).weights, weights);
  EXPECT_EQ(load_model(dir / "m.pth", small_arch()).origin.prefix, "");
  save_checkpoint(dir, renamed(weights, [](const std::string& name) { return "net." + name; }));
  EXPECT_EQ(load_model(dir / "m.pth", small_arch()).origin.prefix, "net.");
}

std::string message_for(const Weights& weights, const TemporaryDir& dir) {
  return test::error_of([&] { load_model(save_checkpoint(dir, weights), small_arch()); });
}

TEST(TensorNames, OtherPrefixesAreSaidOnceWithTheFirstNamesAndWhatToDo) {
  TemporaryDir dir;
  Weights weights = random_model(small_arch(), 1).weights;
  Weights beside = renamed(weights, [](const std::string& name) { return "model." + name; });
  beside["z.weight"] = Tensor({3});
  EXPECT_THAT(message_for(beside, dir), AllOf(HasSubstr("the network's names begin with 'model.'"),
                                              HasSubstr("k[6:]"), HasSubstr("unexpected z.weight [3]")));

  Weights two = renamed(weights, [](const std::string& name) { return "student." + name; });
  two.merge(renamed(weights, [](const std::string& name) { return "teacher." + name; }));
  EXPECT_THAT(message_for(two, dir), HasSubstr("several networks, 'student.', 'teacher.'"));

  const Weights foreign = renamed(weights, [](const std::string& name) { return "trunk.x" + name; });
  const std::string message = message_for(foreign, dir);
  EXPECT_THAT(message, AllOf(HasSubstr("all of these begin with 'trunk.'"),
                             HasSubstr("unexpected trunk.xbn1.bias"), HasSubstr("more")));
  EXPECT_LT(std::count(message.begin(), message.end(), '\n'), 16);
}

TEST(TensorNames, AHeadOfAnotherNameIsNamedAndNoClassesAreClaimed) {
  TemporaryDir dir;
  const Weights weights = random_model(small_arch(), 1).weights;
  for (const std::string head : {"fc.1", "classifier", "head.fc"}) {
    Weights named = renamed(weights, [&](const std::string& name) {
      return name.starts_with("fc.") ? head + name.substr(2) : name;
    });
    EXPECT_EQ(stored_classes(save_checkpoint(dir, named)), std::nullopt);
    EXPECT_THAT(
        message_for(named, dir),
        AllOf(HasSubstr("'" + head + "' is probably the classifier, of 3 outputs"), HasSubstr("'fc.weight'"),
              HasSubstr("missing    fc.weight [classes, 64]"), Not(HasSubstr("3 classes"))));
  }
  Weights without = weights;
  without.erase("fc.weight");
  without.erase("fc.bias");
  EXPECT_THAT(message_for(without, dir), AllOf(HasSubstr("missing    fc.weight"), Not(HasSubstr("probably")),
                                               Not(HasSubstr(" classes)"))));
}

// Other files.

TEST(OtherFiles, AreNamed) {
  TemporaryDir dir;
  const auto message = [&](const std::string& name, const std::string& text) {
    write_text(dir / name, text);
    return test::error_of([&] { open_weight_file(dir / name); });
  };
  EXPECT_THAT(message("m.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
              AllOf(HasSubstr(dir / "m.pth"), HasSubstr("pointer of Git LFS"), HasSubstr("git lfs pull")));
  EXPECT_THAT(message("l.safetensors", "version https://git-lfs.github.com/spec/v1\n"), HasSubstr("Git LFS"));
  EXPECT_THAT(message("h.pth", "\xef\xbb\xbf \n<!DOCTYPE html><html>"), HasSubstr("a page of HTML"));
  EXPECT_THAT(message("h.safetensors", "<HTML lang=en>"), HasSubstr("a page of HTML"));
  EXPECT_THAT(message("model.safetensors.index.json", "{\n  \"metadata\": {\"total_size\": 9}}"),
              HasSubstr("an index"));
  EXPECT_THAT(message("c.safetensors", "{\"weight_map\": {}}"), HasSubstr("an index"));
  EXPECT_THAT(message("config.json", "{\"arch\": \"resnet18\"}"), HasSubstr("a JSON file, not weights"));
  EXPECT_THAT(message("k.h5", "\x89HDF\r\n\x1a\n"), HasSubstr("HDF5"));
  EXPECT_THAT(message("b.pth", "BZh91AY"), HasSubstr("bzip2"));
}

TEST(PyTorchFile, PrefersTheNestedStateDict) {
  const Weights weights = two_tensors();
  Pickle pickle;
  pickle.raw("}(").text("best_accuracy").tensor({.key = "0", .shape = {6}});
  pickle.text("state_dict").raw("}(").entries(weights).raw("uu");
  const std::string archive = make_zip(checkpoint_items(pickle.done(), weights));
  PyTorchFile file = parse(archive);
  EXPECT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.read("a"), weights.at("a"));
}

// The pickle.

TEST(Unpickler, ReadsTheScalarsOfEveryProtocol) {
  const std::string items = std::string("N\x88\x89K\xc8M\x34\x12J\xfe\xff\xff\xff", 13) + "\x8a\x01\x80" +
                            std::string("\x8a\x00", 2) + std::string("G\x3f\xe0\0\0\0\0\0\0", 9) +
                            std::string("X\x01\0\0\0a", 6) + "\x8c\x01" + "b" + "C\x01" + "c";
  for (int protocol = 2; protocol <= 5; ++protocol) {
    const PickleData data = parse_pickle(Pickle(protocol).raw("(" + items + "t").done());
    const auto& tuple = data.as<PickleTuple>(data.root)->items;
    ASSERT_EQ(tuple.size(), 12u);
    EXPECT_NE(data.as<PickleNone>(tuple[0]), nullptr);
    EXPECT_EQ(*data.as<bool>(tuple[1]), true);
    EXPECT_EQ(*data.as<bool>(tuple[2]), false);
    const std::vector<int64_t> integers = {200, 0x1234, -2, -128, 0};
    for (size_t i = 0; i < integers.size(); ++i) EXPECT_EQ(*data.as<int64_t>(tuple[3 + i]), integers[i]);
    EXPECT_EQ(*data.as<double>(tuple[8]), 0.5);
    EXPECT_EQ(*data.as<std::string>(tuple[9]), "a");
    EXPECT_EQ(*data.as<std::string>(tuple[10]), "b");
    EXPECT_EQ(data.as<PickleBytes>(tuple[11])->bytes, "c");
  }
  EXPECT_ERROR(parse_pickle(Pickle(1).raw("N").done()), HasSubstr("protocol 1, expected 2 to 5"));
}

TEST(Unpickler, IntegersBeyond64BitsBecomeNumbers) {
  const std::string large = std::string("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0", 11);
  PickleData data = parse_pickle(Pickle().raw(large).done());
  EXPECT_EQ(*data.as<double>(data.root), 18446744073709551615.0);
  data = parse_pickle(Pickle().raw("\x8a\x09" + std::string(8, '\0') + "\xff").done());
  EXPECT_EQ(*data.as<double>(data.root), -18446744073709551616.0);
}

TEST(Unpickler, SharesAndMemoizesWithoutCopies) {
  // A list that holds itself, and a bomb of 10^200 values if it were ever copied out.
  PickleData data = parse_pickle(Pickle()
                                     .raw("]q\x01h\x01"
                                          "a")
                                     .done());
  EXPECT_EQ(data.as<PickleList>(data.root)->items, std::vector<ValueId>{data.root});
  std::string bomb = "Nq\x01";
  for (int level = 0; level < 190; ++level)
    bomb += "(h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01h\x01tq\x01";
  data = parse_pickle(Pickle().raw("(" + bomb + "t").done());
  EXPECT_LT(data.values.size(), 200u);
}

TEST(Unpickler, NamesWhatItRefuses) {
  EXPECT_ERROR(parse_pickle(Pickle().global("os", "system").done()),
               AllOf(HasSubstr("x.pkl: refused: at byte 2"), HasSubstr("the global 'os.system'"),
                     HasSubstr("Nothing was executed")));
  EXPECT_ERROR(parse_pickle(Pickle(4).text("torch").text("load").raw("\x93").done()),
               HasSubstr("'torch.load'"));
  for (int byte = 0; byte < 256; ++byte) {  // no opcode crashes on an empty stack
    const std::string pickle = std::string("\x80\x02") + static_cast<char>(byte) + ".";
    try {
      parse_pickle(pickle);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.pkl: "));
    }
  }
}

}  // namespace
}  // namespace lasnet::test
