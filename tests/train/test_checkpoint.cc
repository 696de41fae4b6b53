// Checkpoints and the list of a run's images: what is damaged, out of range or replaced is refused and named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "formats/safetensors.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"
#include "train/config.h"
#include "train/digest.h"
#include "train/file_list.h"
#include "train/run_files.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kFacts = "lasnet_checkpoint";

Checkpoint some_checkpoint(int epoch = 0) {
  Checkpoint checkpoint;
  checkpoint.classes = {"a", "b"};
  checkpoint.train_images = 40;
  checkpoint.state.epoch = epoch;
  checkpoint.state.step = 3;
  checkpoint.state.sums = {
      .loss = 2, .macs_ratio = 20, .images = 24, .correct = 12, .seconds = 1, .losses = {}, .from = {}};
  EpochInfo info;
  info.phase = kPretrain, info.epoch = 1, info.epochs = 2;
  info.validation.rates = {0.5, 0.25};
  checkpoint.state.history = {info};
  checkpoint.state.results[kPretrain] = {.top1 = 0.1, .rates = {0.3}, .predicted_ms = 4.5, .measured_ms = {}};
  checkpoint.weights["w"] = Tensor({1000}, 1.0f);
  checkpoint.momentum["w"] = Tensor({1000}, 0.1f);
  return checkpoint;
}

void flip_byte(const std::string& path, int64_t from_end) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-from_end, std::ios::end);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(-from_end, std::ios::end);
  file.put(byte);
}

/// The checkpoint with other facts and the digest that belongs to them.
void rewrite_facts(const std::string& path, const std::function<void(nlohmann::json&)>& change) {
  Safetensors file = read_safetensors(path);
  nlohmann::json facts = nlohmann::json::parse(file.metadata.at(kFacts));
  change(facts);
  file.metadata[kFacts] = facts.dump();
  Sha256 sum;
  sum.add(file.metadata[kFacts]);
  for (const auto& [name, tensor] : file.tensors) {
    sum.add("\n" + name + " " + to_string(tensor.shape) + "\n");
    sum.add({reinterpret_cast<const uint8_t*>(tensor.data.data()), tensor.data.size() * sizeof(float)});
  }
  file.metadata["sha256"] = sum.hex();
  write_safetensors(file, path, DType::f32);
}

TEST(Digest, IsThatOfSha256sum) {
  TemporaryDir dir;
  write_text(dir / "file", "abc");
  const std::string expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(digest_of("abc"), expected);
  EXPECT_EQ(digest_of_file(dir / "file"), expected);
}

TEST(CheckpointFile, IsReadBackAsItWas) {
  TemporaryDir dir;
  Checkpoint written = some_checkpoint(1);
  written.config.arch.granularity = {4, 4, 2, 1};
  written.config.lr = 0.3;
  written.inputs = {.init = "aa", .teacher = "bb", .hardware = "name = 1\n"};
  written.state.history[0].train_loss = std::numeric_limits<double>::quiet_NaN();
  written.state.history[0].train_losses = {
      .classification = 1, .distillation = 2, .features = 3, .budget = 4};
  written.state.history[0].images_per_s = 20;
  written.state.sums.from = {.decoded = 7, .decode_seconds = 0.5, .wait_seconds = 0.25};
  save_checkpoint(written, dir / "c");
  const Checkpoint read = load_checkpoint(dir / "c").value();
  EXPECT_EQ(to_json(read.config), to_json(written.config));
  EXPECT_EQ(read.inputs, written.inputs);
  EXPECT_EQ(read.state.results.at(kPretrain).predicted_ms, 4.5);
  EXPECT_FALSE(read.state.results.at(kPretrain).measured_ms);
  EXPECT_EQ(read.classes, written.classes);
  EXPECT_EQ(read.preprocessing, written.preprocessing);
  EXPECT_EQ(read.state.epoch, 1);
  EXPECT_EQ(read.state.sums.macs_ratio, 20);
  EXPECT_TRUE(std::isnan(read.state.history.at(0).train_loss)) << "a loss that overflowed";
  EXPECT_EQ(read.state.history.at(0).validation.rates, (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(read.state.history.at(0).train_losses.features, 3);
  EXPECT_EQ(read.state.history.at(0).train_losses.budget, 4);
  EXPECT_EQ(read.state.history.at(0).images_per_s, 20);
  EXPECT_EQ(read.state.sums.from.decoded, 7);
  EXPECT_EQ(read.state.sums.from.wait_seconds, 0.25);
  EXPECT_EQ(read.weights, written.weights);
  EXPECT_EQ(read.momentum, written.momentum);
}

TEST(CheckpointFile, NamesOfClassesNeedNotBeText) {
  TemporaryDir dir;
  Checkpoint checkpoint = some_checkpoint();
  checkpoint.classes = {"caf\xe9", "b"};
  save_checkpoint(checkpoint, dir / "c");
  EXPECT_TRUE(same_names(load_checkpoint(dir / "c")->classes, checkpoint.classes));
}

TEST(CheckpointFile, FlippedBitsAreSeen) {
  TemporaryDir dir;
  for (const int64_t from_end : {1, 4000, 7999, 8200}) {
    save_checkpoint(some_checkpoint(), dir / "c");
    flip_byte(dir / "c", from_end);
    EXPECT_ERROR(load_checkpoint(dir / "c"), HasSubstr(dir / "c")) << from_end;
  }
}

TEST(CheckpointFile, WhatIsNotFiniteIsNeitherWrittenNorRead) {
  TemporaryDir dir;
  save_checkpoint(some_checkpoint(), dir / "c");
  Checkpoint diverged = some_checkpoint(1);
  diverged.momentum["w"].data[7] = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(save_checkpoint(diverged, dir / "c"), AllOf(HasSubstr("momentum.w"), HasSubstr("not finite")));
  EXPECT_EQ(load_checkpoint(dir / "c")->state.epoch, 0) << "the old one stays";
}

TEST(CheckpointFile, NumbersOutOfRangeAreNamed) {
  TemporaryDir dir;
  const auto message_for = [&](const std::string& pointer, const nlohmann::json& value) -> std::string {
    save_checkpoint(some_checkpoint(), dir / "c");
    rewrite_facts(dir / "c",
                  [&](nlohmann::json& facts) { facts[nlohmann::json::json_pointer(pointer)] = value; });
    return test::error_of([&] { load_checkpoint(dir / "c"); });
  };
  EXPECT_EQ(message_for("/state/step", 4), "no error");
  EXPECT_THAT(
      message_for("/state/step", -1),
      AllOf(HasSubstr(dir / "c"), HasSubstr("state.step: expected an integer from 0"), HasSubstr("got -1")));
  for (const char* number : {"/state/epoch", "/state/images", "/state/correct", "/train_images"}) {
    EXPECT_THAT(message_for(number, -1), HasSubstr("got -1")) << number;
    EXPECT_THAT(message_for(number, uint64_t{1} << 63), HasSubstr("expected an integer")) << number;
    EXPECT_THAT(message_for(number, "3"), HasSubstr("expected an integer")) << number;
  }
  EXPECT_THAT(message_for("/state/correct", 25), HasSubstr("from 0 to 24"));
  EXPECT_THAT(message_for("/state/seconds", -1), HasSubstr("expected a number"));
  EXPECT_THAT(message_for("/state/phase", "lunch"), HasSubstr("one of pretrain, control, finetune, done"));
  EXPECT_THAT(message_for("/state/history/0/epoch", 3), HasSubstr("epochs: expected an integer from 3"));
  EXPECT_THAT(message_for("/state/history/0/validation/rates/0", 2),
              HasSubstr("rates[0]: expected a number"));
  EXPECT_THAT(message_for("/state/results/pretrain/top1", nullptr), HasSubstr("top1: expected a number"));
  EXPECT_THAT(message_for("/config", 3), HasSubstr("config: expected an object, got 3"));
  EXPECT_THAT(message_for("/classes", "a"), HasSubstr("classes: expected an array"));
  EXPECT_THAT(message_for("/version", 1), AllOf(HasSubstr("version 1"), HasSubstr("`overwrite`")));
}

TEST(CheckpointFile, PositionsThatTheRunDoesNotHaveAreRefused) {
  const RunExtent extent{.epochs = 2, .steps = 5, .batch = 8, .blocks = 2};
  RunState state = some_checkpoint().state;
  check_position(state, extent, "c");
  RunState done = state;
  done.epoch = 2, done.step = 0, done.sums.images = 0;
  check_position(done, extent, "c");
  done.step = 1, done.sums.images = 8;
  EXPECT_ERROR(check_position(done, extent, "c"),
               HasSubstr("c: the position is epoch 3, step 1 of pretrain"));
  RunState beyond = state;
  beyond.step = 6, beyond.sums.images = 48;
  EXPECT_ERROR(check_position(beyond, extent, "c"), HasSubstr("2 epochs of 5 steps"));
  RunState empty = state;
  empty.sums.images = 0;
  EXPECT_ERROR(check_position(empty, extent, "c"), HasSubstr("expected 24"));
  RunState other = state;
  other.history[0].validation.rates = {1, 1, 1};
  EXPECT_ERROR(check_position(other, extent, "c"), HasSubstr("3 rates"));
}

TEST(RunFilesTest, TheLastOnesAreKeptAndTheNewestSoundOneIsFound) {
  TemporaryDir dir;
  const RunFiles files(dir.path());
  const auto save = [&](int epoch, int keep) {
    Checkpoint checkpoint = some_checkpoint(epoch);
    checkpoint.config.keep_checkpoints = keep;
    files.save(checkpoint);
  };
  const auto epoch_in = [](const std::string& path) { return load_checkpoint(path)->state.epoch; };
  for (int epoch = 0; epoch < 6; ++epoch) save(epoch, 4);
  EXPECT_EQ(epoch_in(files.checkpoint()), 5);
  for (int age = 1; age < 4; ++age) EXPECT_EQ(epoch_in(files.previous_checkpoint(age)), 5 - age);
  EXPECT_FALSE(std::filesystem::exists(files.previous_checkpoint(4)));
  flip_byte(files.checkpoint(), 1);
  flip_byte(files.previous_checkpoint(1), 1);
  std::filesystem::remove(files.previous_checkpoint(2));
  const FoundCheckpoint found = files.find_checkpoint().value();
  EXPECT_EQ(found.checkpoint.state.epoch, 2);
  EXPECT_THAT(found.problem, HasSubstr(files.checkpoint()));
  save(7, 1);
  EXPECT_EQ(epoch_in(files.checkpoint()), 7);
  for (int age = 1; age < 5; ++age) EXPECT_FALSE(std::filesystem::exists(files.previous_checkpoint(age)));
}

TEST(RunFilesTest, ThePreviousCheckpointStandsInForADamagedOne) {
  TemporaryDir dir;
  const RunFiles files(dir.path());
  EXPECT_FALSE(files.find_checkpoint());
  files.save(some_checkpoint(0));
  files.save(some_checkpoint(1));
  EXPECT_EQ(files.find_checkpoint()->checkpoint.state.epoch, 1);
  EXPECT_THAT(files.find_checkpoint()->problem, IsEmpty());
  flip_byte(files.checkpoint(), 1);
  const FoundCheckpoint found = files.find_checkpoint().value();
  EXPECT_EQ(found.checkpoint.state.epoch, 0);
  EXPECT_EQ(found.path, files.previous_checkpoint());
  EXPECT_THAT(found.problem, AllOf(HasSubstr(files.checkpoint()), HasSubstr("damaged")));

  files.save(some_checkpoint(2));
  EXPECT_EQ(files.find_checkpoint()->checkpoint.state.epoch, 2);
  EXPECT_EQ(load_checkpoint(files.previous_checkpoint())->state.epoch, 0) << "not the damaged one";
  std::filesystem::remove(files.checkpoint());
  EXPECT_THAT(files.find_checkpoint()->problem, HasSubstr("is missing"));
  flip_byte(files.previous_checkpoint(), 1);
  EXPECT_ERROR(files.find_checkpoint(), HasSubstr(files.previous_checkpoint()));
  files.save(some_checkpoint(3));
  flip_byte(files.checkpoint(), 1);
  EXPECT_ERROR(files.find_checkpoint(),
               AllOf(HasSubstr(files.checkpoint()), HasSubstr("damaged"), HasSubstr("`overwrite`")));
  files.forget_position();
  EXPECT_FALSE(files.find_checkpoint());
}

class ListTest : public testing::Test {
 protected:
  ListTest() {
    for (const char* name : {"a.png", "b.png", "c.png", "with space.png"}) write(name, "12345");
  }

  void write(const std::string& name, const std::string& text) {
    const std::string path = dir_ / name;
    write_text(path, text);
    std::filesystem::last_write_time(path, std::filesystem::file_time_type(std::chrono::seconds(1'000'000)));
  }
  std::string list() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path()))
      paths.push_back(entry.path().string());
    return list_files(dir_.path(), paths);
  }

  TemporaryDir dir_;
};

TEST_F(ListTest, IsTheSameForTheSameFiles) {
  const std::string before = list();
  EXPECT_EQ(list(), before);
  EXPECT_THAT(before, AllOf(HasSubstr("5 "), HasSubstr(" a.png\n"), HasSubstr(" with space.png\n")));
  EXPECT_THAT(compare_lists(before, before).content, IsEmpty());
  EXPECT_THAT(compare_lists(before, before).times, IsEmpty());
}

TEST_F(ListTest, NamesWhatIsOtherwise) {
  const std::string before = list();
  write("b.png", "123456");
  std::filesystem::remove(dir_ / "c.png");
  write("d.png", "12345");
  std::filesystem::last_write_time(dir_ / "with space.png",
                                   std::filesystem::file_time_type(std::chrono::seconds(2'000'000)));
  const ListDifference difference = compare_lists(before, list());
  EXPECT_EQ(difference.content, "b.png (6 bytes instead of 5), c.png (gone), d.png (new)");
  EXPECT_EQ(difference.times, "with space.png");
}

TEST_F(ListTest, LongListsAreCut) {
  const std::string before = list();
  for (int i = 0; i < 9; ++i) write(std::to_string(i) + ".png", "x");
  EXPECT_THAT(compare_lists(before, list()).content, HasSubstr("4.png (new) ... 4 more"));
}

}  // namespace
}  // namespace lasnet::test
