// Names in foreign files on a terminal: readable, and without power over it.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "fixtures.h"
#include "lasnet/hardware.h"
#include "program.h"
#include "terminal.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kEvil = "a\x1b[2J\nb\u202e\x07";
constexpr const char* kWritten = "a\\x1b[2J\\x0ab\\u{202e}\\x07";

class UntrustedTextTest : public ProgramTest {
 protected:
  std::string save_model_with_classes(const std::vector<std::string>& names) const {
    Model model = tiny_model();
    model.class_names = names;
    const auto path = folder_.path("model.safetensors");
    save_model(model, path);
    return path;
  }

  static void expect_harmless(const ProgramResult& result) {
    for (const char* evil : {"\x1b[2J", "\x07", "\u202e"}) {
      EXPECT_THAT(result.out, Not(HasSubstr(evil)));
      EXPECT_THAT(result.err, Not(HasSubstr(evil)));
    }
  }
};

TEST_F(UntrustedTextTest, ClassNames) {
  const auto model = save_model_with_classes({kEvil, "Käuzchen"}), photo = save_photo("a.png");
  const std::vector<std::string> command = {"run", model, photo, photo, "--repeat", "1"};
  for (const int columns : {0, 100}) {
    const auto result = run_program(command, {.terminal_columns = columns, .environment = {"TERM=xterm"}});
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    expect_harmless(result);
    EXPECT_THAT(result.out, AllOf(HasSubstr(kWritten), HasSubstr("Käuzchen")));
  }
  const auto result = run_program(with(command, {"--json"}));
  expect_harmless(result);
  const auto top = result.json().at("images").at(0).at("top");
  EXPECT_TRUE(top.at(0).at("class") == kEvil || top.at(1).at("class") == kEvil);
}

TEST_F(UntrustedTextTest, ProfilesOfOperatingPoints) {
  Model model = tiny_model();
  const std::string name = std::string(kEvil) + "\n" + std::string(100'000, 'n');
  model.operating_points = {{.macs_ratio = 0.5,
                             .top1 = 0.5,
                             .thresholds = std::vector<float>(8),
                             .rates = std::vector<double>(8),
                             .predicted_ms = {{name, 1}}}};
  const auto path = folder_.path("model.safetensors");
  save_model(model, path);
  const auto result = run_program({"inspect", path});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_harmless(result);
  EXPECT_LT(result.out.size(), 10'000u);
  EXPECT_EQ(report_of({"inspect", path}).at("operating_points")[0].at("predicted_ms").at(name), 1);
}

TEST_F(UntrustedTextTest, FileNames) {
  const auto model = save_tiny_model();
  const auto photo = save_photo(std::string(kEvil) + ".png");
  const auto read = run_program({"run", model, photo, "--repeat", "1"});
  EXPECT_EQ(read.exit_code, 0) << read.err;
  expect_harmless(read);
  EXPECT_THAT(read.out, HasSubstr(kWritten));
  const auto absent = run_program({"run", model, folder_.path(std::string("no") + kEvil)});
  EXPECT_EQ(absent.exit_code, 1);
  expect_harmless(absent);
  EXPECT_THAT(absent.err, HasSubstr(kWritten));
  const auto usage = run_program({"info", kEvil});
  EXPECT_EQ(usage.exit_code, 2);
  expect_harmless(usage);
  EXPECT_THAT(usage.err, HasSubstr(kWritten));
}

TEST_F(UntrustedTextTest, KeysAndTextsOfProfiles) {
  const std::string good = hardware_to_toml(load_hardware("tx2"));
  const auto path = folder_.path("profile.toml");
  const auto predict = [&](const std::string& toml) {
    write_text(path, toml);
    return run_program({"predict", "resnet18", "--hardware", path});
  };
  const auto escape = predict("\"a\\u001b[2J\\u202e\\u0007\" = 1\n" + good);
  EXPECT_EQ(escape.exit_code, 1);
  expect_harmless(escape);
  EXPECT_THAT(escape.err, HasSubstr("unknown key 'a\\x1b[2J\\u{202e}\\x07'"));
  const auto endless = predict(std::string(1'000'000, 'k') + " = 1\n" + good);
  EXPECT_EQ(endless.exit_code, 1);
  EXPECT_LT(endless.err.size(), 1000u);
  EXPECT_THAT(endless.err, HasSubstr("unknown key 'kkk"));
  const auto wordy = predict("name = \"" + std::string(1'000'000, 'n') + "\"" + good.substr(good.find('\n')));
  EXPECT_EQ(wordy.exit_code, 1);
  EXPECT_THAT(wordy.err, HasSubstr("'name' has 1000000 bytes"));
  const auto broken = predict("name = \x1b[2J");
  EXPECT_EQ(broken.exit_code, 1);
  expect_harmless(broken);
  EXPECT_THAT(broken.err, HasSubstr(path + ":1: not valid TOML: "));
}

TEST(Table, CellsAreEscapedAndCut) {
  cli::Table table({"name", ">number"});
  table.add_row({kEvil, "1"});
  table.add_row({std::string(1 << 20, 'x'), "2"});
  const std::string text = table.to_string(0, 0);
  EXPECT_THAT(text, AllOf(HasSubstr(kWritten), Not(HasSubstr("\x1b[2J"))));
  EXPECT_LT(text.size(), 2000u);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  lines.pop_back();
  return lines;
}

TEST(Table, WideColumnsOfTextAreWrapped) {
  cli::Table table({"block", ">time", "schedule"});
  table.add_row({"layer1.0", "1.25 ms", "masker=separate,gather=indirect,scatter=in_place"});
  table.add_row({"layer1.1", "12.5 ms", "-"});
  EXPECT_THAT(lines_of(table.to_string(2, 0)),
              testing::ElementsAre("  block        time  schedule", testing::_,
                                   "  layer1.0  1.25 ms  masker=separate,gather=indirect,scatter=in_place",
                                   "  layer1.1  12.5 ms  -"));
  EXPECT_THAT(
      lines_of(table.to_string(2, 40)),
      testing::ElementsAre("  block        time  schedule", testing::_,
                           "  layer1.0  1.25 ms  masker=separate,", "                     gather=indirect,",
                           "                     scatter=in_place", "  layer1.1  12.5 ms  -"));
}

TEST(Predict, FitsATerminalAndIsWholeElsewhere) {
  const std::vector<std::string> command = {"predict", "resnet50", "--hardware", "cpu-scalar"};
  for (const int columns : {80, 120}) {
    const auto result = run_program(command, {.terminal_columns = columns, .environment = {"NO_COLOR=1"}});
    EXPECT_EQ(result.exit_code, 0);
    for (const std::string& line : lines_of(result.out.substr(result.out.find("block ")))) {
      // What is no table is prose, which terminals wrap.
      const auto starts = [&line](std::string_view text) { return line.find(text) != line.npos; };
      if (starts("schedule, unless") || starts("computes ") || starts("profile  ")) continue;
      EXPECT_LE(cli::display_width(line), columns) << line;
    }
  }
}

TEST(Colours, AreLeftOutWhereTheyAreNotWanted) {
  const auto run = [](const std::vector<std::string>& environment) {
    // A warning, so that both outputs have something to emphasise.
    return run_program({"predict", "resnet18", "--hardware", "v100", "--threads", "2"},
                       {.terminal_columns = 80, .environment = environment})
        .out;
  };
  const std::string coloured = run({"TERM=xterm-256color", "NO_COLOR="});
  EXPECT_THAT(coloured, AllOf(HasSubstr("\x1b[1m"), HasSubstr("warning"), HasSubstr("--threads")));
  EXPECT_THAT(coloured, testing::ContainsRegex("\x1b\\[[0-9;]+mwarning"));
  EXPECT_THAT(run({"TERM=xterm-256color", "NO_COLOR=1"}),
              AllOf(HasSubstr("warning"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(run({"TERM=dumb", "NO_COLOR="}), AllOf(HasSubstr("warning"), Not(HasSubstr("\x1b"))));
}

}  // namespace
}  // namespace lasnet::test
