// `lasnet sweep` on a tiny data set: a grid from one static network, what it writes, that it goes on, and
// what it refuses.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "fixtures.h"
#include "program.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::stringstream text(line);
  for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
  if (line.ends_with(',')) cells.emplace_back();
  return cells;
}

std::vector<std::map<std::string, std::string>> read_csv(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> names = cells_of(line);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = cells_of(line);
    EXPECT_EQ(cells.size(), names.size()) << line;
    auto& row = rows.emplace_back();
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = cells[i];
  }
  return rows;
}

class SweepTest : public ProgramTest {
 protected:
  void SetUp() override {
    write_image_folder(folder_.path("data"), 6, 3);
    write_text(recipe_,
               "arch = \"resnet18\"\nwidth = 0.125\nstem = \"small\"\nsize = 32\nbatch = 4\nthreads = 1\n"
               "epochs = 1\npretrain_epochs = 1\n");
  }

  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    return with({"sweep", recipe_, "--data", folder_.path("data"), "-o", out_}, more);
  }
  /// Two S, two targets.
  std::vector<std::string> grid(const std::vector<std::string>& more = {}) const {
    return with(arguments({"--granularity", "4-4-2-1,1-1-1-1", "--target", "0.5,0.7"}), more);
  }
  std::string in(const std::string& name) const { return out_ + "/" + name; }

  void refuse(const std::vector<std::string>& more, int code, const std::string& message) {
    const auto result = run_program(arguments(more));
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
  }

  std::string recipe_ = folder_.path("recipe.toml"), out_ = folder_.path("sweep");
};

TEST_F(SweepTest, TrainsAGridFromOneStaticNetworkAndGoesOn) {
  // Ended while its third network trains.
  const auto begun = run_program(grid(), {.interrupt_when = [](const std::string& err) {
                                   return err.find("run 3 of 4") != std::string::npos;
                                 }});
  ASSERT_EQ(begun.exit_code, 130) << begun.err;
  EXPECT_THAT(begun.err, AllOf(HasSubstr("run 1 of 4: 4-4-2-1_target0.5_seed0"), HasSubstr("left for all"),
                               HasSubstr("The same command goes on")));
  EXPECT_FALSE(fs::exists(in("sweep.json")));
  const std::string first = in("runs/4-4-2-1_target0.5_seed0/model.safetensors");
  ASSERT_TRUE(fs::exists(first));
  const auto trained_at = fs::last_write_time(first),
             static_at = fs::last_write_time(in("static/static.safetensors"));

  const auto done = run_program(grid({"--json"}));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(fs::last_write_time(first), trained_at) << "finished ones are kept";
  EXPECT_EQ(fs::last_write_time(in("static/static.safetensors")), static_at);
  EXPECT_THAT(done.err, HasSubstr("4-4-2-1_target0.5_seed0: the run is finished"));
  EXPECT_THAT(done.err, Not(HasSubstr("1-1-1-1_target0.7_seed0: the run is finished")));

  const auto json = done.json();
  ASSERT_EQ(json.at("rows").size(), 5u);
  EXPECT_EQ(json.at("rows")[0].at("kind"), "static");
  EXPECT_EQ(json.at("rows")[0].at("macs_ratio"), 1);
  const auto& row = json.at("rows")[1];
  EXPECT_EQ(row.at("granularity"), "4-4-2-1");
  EXPECT_EQ(row.at("target"), 0.5);
  EXPECT_EQ(row.at("budget_ms"), nullptr);
  EXPECT_EQ(row.at("images"), 6);
  EXPECT_GT(row.at("measured_ms").get<double>(), 0);
  EXPECT_EQ(row.at("predicted_ms").size(), 4u);
  const auto again = run_program({"eval", first, folder_.path("data"), "--json"});
  EXPECT_EQ(again.json().at("top1"), row.at("top1"));
  EXPECT_NEAR(again.json().at("macs_ratio").get<double>(), row.at("macs_ratio").get<double>(), 1e-6);

  EXPECT_EQ(nlohmann::json::parse(read_text(in("sweep.json"))), json);
  EXPECT_THAT(read_text(in("sweep.svg")), AllOf(HasSubstr("<svg"), HasSubstr("measured time"),
                                                HasSubstr("predicted for tx2"), HasSubstr("S = 1-1-1-1")));
  const auto rows = read_csv(in("sweep.csv"));
  ASSERT_EQ(rows.size(), 5u);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& of_json = json.at("rows")[i];
    for (const char* key : {"top1", "macs_ratio", "measured_ms", "size"})
      EXPECT_EQ(nlohmann::json::parse(rows[i].at(key)), of_json.at(key)) << key;
    EXPECT_EQ(rows[i].at("name"), of_json.at("name"));
    EXPECT_EQ(nlohmann::json::parse(rows[i].at("predicted_ms.tx2")), of_json.at("predicted_ms").at("tx2"));
    EXPECT_EQ(rows[i].at("budget_ms"), "");
  }

  const auto kept = run_program(grid({"--json"}));
  EXPECT_EQ(kept.exit_code, 0);
  EXPECT_EQ(kept.json(), json) << "times are not measured again";
  refuse({"--granularity", "4-4-2-1", "--target", "0.5"}, 1, "was started with the grid");
  refuse({"--granularity", "4-4-2-1,1-1-1-1", "--target", "0.5,0.7", "--lr", "0.3"}, 1,
         "was started with --lr");
}

TEST_F(SweepTest, RivalsAndSeeds) {
  const auto done = run_program(
      arguments({"--granularity", "4-4-2-1", "--target", "0.5", "--seeds", "2", "--rivals", "--no-timing",
                 "--predict", "tx2", "--size", "64", "--control-epochs", "1", "--json"}));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto json = done.json();
  std::vector<std::string> kinds;
  for (const auto& row : json.at("rows")) kinds.push_back(row.at("kind"));
  EXPECT_THAT(kinds, testing::ElementsAre("static", "control", "smaller", "smaller", "dynamic", "dynamic"));
  EXPECT_TRUE(json.at("rows")[0].at("measured_ms").is_null());
  EXPECT_EQ(json.at("rows")[0].at("predicted_ms").size(), 1u);
  EXPECT_EQ(json.at("rows")[2].at("size"), 32);
  EXPECT_EQ(json.at("rows")[3].at("size"), 48);
  EXPECT_NEAR(json.at("rows")[3].at("macs_ratio").get<double>(), 48.0 * 48 / (64 * 64), 0.01);
  EXPECT_EQ(json.at("rows")[4].at("seed"), 0);
  EXPECT_EQ(json.at("rows")[5].at("seed"), 1);
  const std::string model = in("runs/4-4-2-1_target0.5_seed1/model.safetensors");
  for (const char* masks : {"random", "centre", "full"}) {
    const auto evaluated = run_program({"eval", model, folder_.path("data"), "--masks", masks, "--json"});
    EXPECT_EQ(evaluated.json().at("top1"), json.at("rows")[5].at("top1_with").at(masks)) << masks;
  }
  EXPECT_TRUE(fs::exists(in("static/control.safetensors")));
  EXPECT_FALSE(fs::exists(in("runs/4-4-2-1_target0.5_seed1/control.safetensors"))) << "one is enough";
}

TEST_F(SweepTest, BudgetsStandBesideTargets) {
  const auto plan = run_program(
      arguments({"--granularity", "4-4-2-1", "--target", "0.5", "--budget-ms", "1000", "--hardware", "tx2"}));
  EXPECT_EQ(plan.exit_code, 2);
  EXPECT_THAT(plan.err, AllOf(HasSubstr("--budget-ms 1000"), HasSubstr("give at most that")));
}

TEST_F(SweepTest, ADryRunSaysHowLongItTakesAndWritesNothing) {
  const auto result = run_program(grid({"--dry-run"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("sweep of 4 networks"), HasSubstr("together about"),
                                HasSubstr("1-1-1-1_target0.7_seed0")));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(SweepTest, SharesItsRunsAmongProcesses) {
  const auto done = run_program(arguments({"--granularity", "4-4-2-1", "--target", "0.5,0.7", "--nproc", "2",
                                           "--no-timing", "--predict", "none", "--json"}));
  if (done.err.find("without Gloo") != std::string::npos) GTEST_SKIP() << done.err;
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(done.json().at("rows").size(), 3u);
  EXPECT_THAT(done.err, HasSubstr("2 processes"));
}

TEST_F(SweepTest, WrongUse) {
  EXPECT_EQ(run_program({"sweep"}).exit_code, 2);
  refuse({"--granularity", "", "--target", "0.5"}, 2, "--granularity");
  refuse({"--granularity", "4-4-2-1,", "--target", "0.5"}, 2, "an empty one");
  refuse({"--granularity", "4-4-x-1", "--target", "0.5"}, 2, "4-4-x-1");
  refuse({"--granularity", "4-4-2-1,4-4-2-1", "--target", "0.5"}, 2, "stands twice");
  refuse({"--granularity", "4-4-2-1", "--target", "0.5,0.50"}, 2, "stands twice");
  refuse({"--granularity", "4-4-2-1", "--target", "1.5"}, 2, "1.5");
  refuse({"--target", "0.5"}, 1, "--granularity is missing");
  refuse({"--granularity", "4-4-2-1", "--predict", "tx3"}, 2, "tx2");
  EXPECT_FALSE(fs::exists(out_));
  fs::remove_all(folder_.path("data/val"));
  refuse({"--granularity", "4-4-2-1", "--target", "0.5"}, 1, "there is no val folder");
  EXPECT_FALSE(fs::exists(out_));
}

}  // namespace
}  // namespace lasnet::test
