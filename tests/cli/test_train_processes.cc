// `lasnet train` with several processes on this machine: who speaks, who is named, and what a killed one
// costs.
#include <gmock/gmock.h>

#include <chrono>
#include <fstream>

#include "fixtures.h"
#include "formats/safetensors.h"
#include "program.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<pid_t> children_of(pid_t process) {
  std::vector<pid_t> children;
  std::ifstream list(fmt::format("/proc/{0}/task/{0}/children", process));
  for (pid_t child = 0; list >> child;) children.push_back(child);
  return children;
}

class TrainProcesses : public ProgramTest {
 protected:
  void SetUp() override {
    const auto probe = run_program({"train", "--nproc", "2"});
    if (probe.err.find("without Gloo") != std::string::npos) GTEST_SKIP() << probe.err;
    write_image_folder(folder_.path("data"), 6, 3);
  }

  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    return with({"train", "--data", folder_.path("data"), "--arch", "resnet18", "--width", "0.125", "--stem",
                 "small", "--size", "32", "--granularity", "4-4-2-1", "--batch", "4", "--threads", "1", "-o",
                 folder_.path("out")},
                more);
  }

  /// Kills a rank once the first checkpoint is written. `ranks` processes were asked for.
  ProgramResult run_and_kill(int rank, int ranks) const {
    bool killed = false;
    const auto kill_rank = [&](const std::string& err) {
      if (killed || err.find("pretrain 2/5000  loss") == std::string::npos) return false;
      for (const pid_t launcher : children_of(getpid())) {
        const std::vector<pid_t> processes = children_of(launcher);
        if (processes.size() != static_cast<size_t>(ranks)) continue;
        kill(processes[static_cast<size_t>(rank)], SIGKILL);
        killed = true;
      }
      return false;
    };
    return run_program(
        arguments({"--nproc", std::to_string(ranks), "--pretrain-epochs", "5000", "--epochs", "1"}),
        {.interrupt_when = kill_rank});
  }
};

TEST_F(TrainProcesses, RankZeroAloneSpeaksAndWrites) {
  const auto result =
      run_program(arguments({"--nproc", "2", "--epochs", "1", "--pretrain-epochs", "1", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json().at("dynamic_eval").at("images"), 6);
  EXPECT_THAT(result.err, HasSubstr("2 processes, each with 1 thread"));
  const size_t first = result.err.find("plan:");
  EXPECT_EQ(result.err.find("plan:", first + 1), std::string::npos) << result.err;
  EXPECT_EQ(run_program({"eval", result.json().at("model"), folder_.path("data")}).exit_code, 0);
}

TEST_F(TrainProcesses, AKilledRankIsNamedAndCostsTheStepsSinceTheCheckpoint) {
  const auto begun = std::chrono::steady_clock::now();
  const auto killed = run_and_kill(1, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
  EXPECT_EQ(killed.exit_code, 1);
  EXPECT_THAT(killed.err, AllOf(HasSubstr("rank 1 ("), HasSubstr("was killed by signal 9"),
                                HasSubstr("no longer answers"), HasSubstr("--resume")));
  const auto facts = nlohmann::json::parse(
      read_safetensors(folder_.path("out/checkpoint.safetensors")).metadata.at("lasnet_checkpoint"));
  const int epoch = facts.at("state").at("epoch");
  EXPECT_GE(epoch, 1);
  const auto resumed = run_program(
      {"train", "--resume", "-o", folder_.path("out"), "--nproc", "2"},
      {.interrupt_when = [](const std::string& err) { return err.find("step") != std::string::npos; }});
  EXPECT_EQ(resumed.exit_code, 130) << resumed.err;
  EXPECT_THAT(resumed.err, AllOf(HasSubstr(fmt::format("resuming pretrain in epoch {}", epoch + 1)),
                                 HasSubstr("the run was on 3 processes")));
}

TEST_F(TrainProcesses, WhenRankZeroIsKilledAnotherSaysSo) {
  const auto killed = run_and_kill(0, 2);
  EXPECT_NE(killed.exit_code, 0);
  EXPECT_THAT(killed.err, AllOf(HasSubstr("rank 0 (process"), HasSubstr("is gone"), HasSubstr("--resume")));
}

TEST_F(TrainProcesses, WrongUsesAreNamedOnce) {
  const auto run = [&](const std::vector<std::string>& more, const std::vector<std::string>& environment) {
    return run_program(arguments(more), {.environment = environment});
  };
  const auto missing = run({}, {"WORLD_SIZE=2", "RANK=0"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, HasSubstr("MASTER_ADDR is not set"));
  const auto both =
      run({"--nproc", "3"}, {"WORLD_SIZE=2", "RANK=0", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=1"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.err, HasSubstr("--nproc 3"));
  const auto small = run({"--nproc", "5"}, {});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_THAT(small.err, AllOf(HasSubstr("--batch 4"), HasSubstr("5 processes")));
  const auto alone =
      run({"--join-timeout", "1"}, {"WORLD_SIZE=2", "RANK=1", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=9"});
  EXPECT_EQ(alone.exit_code, 1);
  EXPECT_THAT(alone.err,
              AllOf(HasSubstr("127.0.0.1:9 (MASTER_ADDR, MASTER_PORT)"), HasSubstr("was rank 0 started")));
}

}  // namespace
}  // namespace lasnet::test
