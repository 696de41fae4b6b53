// Help, wrong use, and where output goes.
#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>

#include "base/cgroup.h"
#include "base/processors.h"
#include "fixtures.h"
#include "lasnet/engine.h"
#include "machine.h"
#include "program.h"

namespace lasnet::test {
namespace {

using testing::HasSubstr;

class CommandHelp : public testing::TestWithParam<const char*> {};

TEST_P(CommandHelp, IsPrintedOnStandardOutput) {
  const auto result = run_program({GetParam(), "--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("--help"));
  EXPECT_THAT(result.out, HasSubstr(GetParam()));
  EXPECT_EQ(result.err, "");
}

INSTANTIATE_TEST_SUITE_P(Commands, CommandHelp,
                         testing::Values("run", "forward", "eval", "bench", "convert", "inspect", "info",
                                         "predict", "search", "calibrate", "validate-predictor"),
                         [](const auto& command) {
                           std::string name = command.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Usage, ProgramHelpNamesEveryCommand) {
  const auto result = run_program({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* command : {"run", "forward", "eval", "train", "bench", "serve", "convert", "inspect",
                              "info", "predict", "search", "calibrate", "validate-predictor"}) {
    EXPECT_THAT(result.out, HasSubstr(std::string("  ") + command + " "));
  }
}

struct WrongUse {
  const char* name;
  std::vector<std::string> arguments;
  const char* message;
};

void PrintTo(const WrongUse& use, std::ostream* out) { *out << use.name; }

class WrongUsage : public testing::TestWithParam<WrongUse> {};

TEST_P(WrongUsage, ExitsWithTwoAndSaysWhy) {
  const auto result = run_program(GetParam().arguments);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, WrongUsage,
    testing::Values(
        WrongUse{"NoCommand", {}, "no command"}, WrongUse{"UnknownCommand", {"fly"}, "fly"},
        WrongUse{"MistypedCommand", {"evla", "m"}, "did you mean 'eval'?"},
        WrongUse{"MistypedCommandWithItsOptions",
                 {"evla", "m", "dir", "--json", "--batch", "4"},
                 "'evla' is not a command of lasnet; did you mean 'eval'?"},
        WrongUse{"MistypedProgramBeside",
                 {"bnech", "resnet18", "--macs", "0.5"},
                 "'bnech' is not a command of lasnet; did you mean 'bench'?"},
        WrongUse{"MistypedOption", {"run", "m", "i", "--overlya=o"}, "did you mean '--overlay'?"},
        WrongUse{"MistypedOptionOfBench",
                 {"bench", "resnet18", "--reapeat", "3"},
                 "'--reapeat' is not an option of lasnet bench; did you mean '--repeat'?"},
        WrongUse{"OneArgumentTooMany", {"info", "all"}, "'all' is not an argument of info"},
        WrongUse{"UnknownOption", {"info", "--fast"}, "--fast"}, WrongUse{"NoModel", {"run"}, "MODEL"},
        WrongUse{"NoImage", {"run", "m.safetensors"}, "IMAGE"},
        WrongUse{"UnknownIsa", {"run", "m", "i", "--isa", "sse9"}, "sse9"},
        WrongUse{"UnknownPrecision", {"run", "m", "i", "--precision", "fp8"}, "fp8"},
        WrongUse{"PrecisionOfAnotherBackend",
                 {"run", "m", "i", "--precision", "fp16"},
                 "--precision fp16: the cpu backend computes in fp32 or int8; fp16 needs the cuda backend"},
        WrongUse{"IsaOfTheGpu",
                 {"forward", "m", "--input", "x", "--output", "y", "--backend", "cuda", "--isa", "scalar"},
                 "--isa scalar: the cuda backend has no"},
        WrongUse{"IsaOfPlainLoops",
                 {"bench", "resnet18", "--isa", "avx2", "--backend", "reference"},
                 "--isa avx2: the reference backend"},
        WrongUse{"BaselineOnAnotherDevice",
                 {"bench", "resnet18", "--backend", "cuda", "--baseline", "onednn"},
                 "on the processor"},
        WrongUse{"UnknownBackend", {"run", "m", "i", "--backend", "gpu"}, "gpu"},
        WrongUse{"NoThreads", {"run", "m", "i", "--threads", "0"}, "--threads"},
        WrongUse{"ThreadsNotANumber", {"run", "m", "i", "--threads", "many"}, "many"},
        WrongUse{"GranularityZero", {"inspect", "m", "--granularity", "4-0-2-1"}, "4-0-2-1"},
        WrongUse{"GranularityText", {"inspect", "m", "--granularity", "big"}, "big"},
        WrongUse{"StandardInputAsModel", {"inspect", "-"}, "MODEL: '-' is no file here"},
        WrongUse{"StandardInputAsPhotograph", {"run", "m", "a.png", "-"}, "IMAGE: '-' is no file here"},
        WrongUse{"StandardInputAsTensor",
                 {"forward", "m", "--input", "-", "--output", "y.npy"},
                 "--input: '-' is no file here"},
        WrongUse{"StandardOutputAsTensor",
                 {"forward", "m", "--input", "x.npy", "--output", "-"},
                 "/dev/stdout for standard output"},
        WrongUse{"StandardInputAsProfile",
                 {"predict", "resnet18", "--hardware", "-"},
                 "--hardware: '-' is no file here"},
        WrongUse{
            "StandardOutputAsNetwork", {"bench", "resnet18", "--save", "-"}, "--save: '-' is no file here"},
        WrongUse{"WidthNotANumber",
                 {"inspect", "m", "--width", "wide"},
                 "--width: 'wide' is not a number greater than 0"},
        WrongUse{"BatchNotANumber",
                 {"predict", "resnet18", "--batch", "abc"},
                 "--batch: 'abc' is not a whole number from 1 to 4096"},
        WrongUse{"BatchOfTooManyDigits",
                 {"eval", "m", "d", "--batch", "99999999999999999999"},
                 "is not a whole number from 1 to 4096"},
        WrongUse{"OptionWithoutValue", {"forward", "m", "--input"}, "--input needs a value: X.npy"},
        WrongUse{"OptionTwice",
                 {"forward", "m", "--input", "a", "--input", "b", "--output", "c"},
                 "--input is given 2 times; expected once"},
        WrongUse{"FlagWithValue",
                 {"run", "m", "i", "--json=maybe"},
                 "--json = maybe: this option takes no such value"},
        WrongUse{"SeedNotANumber", {"bench", "resnet18", "--seed", "x"}, "--seed: 'x' is not a whole number"},
        WrongUse{"NoInput", {"forward", "m", "--output", "y.npy"}, "--input"},
        WrongUse{"ConvertToPth", {"convert", "m.pth", "out.pth"}, ".safetensors"},
        WrongUse{"ConvertUnknownType", {"convert", "m.pth", "o.safetensors", "--dtype", "int8"}, "int8"},
        WrongUse{"UnknownPool", {"inspect", "m", "--se", "some"}, "some"},
        WrongUse{"ClassesNegative", {"inspect", "m", "--classes=-1"}, "-1 classes"},
        WrongUse{"ClassesMissing", {"inspect", "m", "--classes", "none.txt"}, "none.txt"},
        WrongUse{"EvalWithoutFolder", {"eval", "m"}, "DIR"}),
    [](const auto& use) { return std::string(use.param.name); });

TEST(Usage, VersionIsPrinted) {
  const auto result = run_program({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, testing::StartsWith("lasnet "));
}

TEST(Info, JsonSaysWhatTheLibrarySays) {
  const auto result = run_program({"info", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto info = result.json();
  std::vector<std::string> isas;
  for (const Isa isa : available_isas()) isas.push_back(to_string(isa));
  EXPECT_EQ(info.at("isas"), isas);
  std::vector<std::string> backends = {"reference", "cpu"};
  if (!cuda_devices().empty()) backends.emplace_back("cuda");
  EXPECT_EQ(info.at("backends"), backends);
  EXPECT_EQ(info.at("cuda").at("devices").size(), cuda_devices().size());
  EXPECT_EQ(info.at("cuda").at("unavailable"), cuda_unavailable_reason());
  EXPECT_EQ(info.at("architectures"), architecture_names());
  EXPECT_GE(info.at("cpu").at("physical_cores"), 1);
  EXPECT_GE(info.at("cpu").at("processors"), info.at("cpu").at("physical_cores"));
  EXPECT_EQ(info.at("cpu").at("default_threads"),
            within_quota(info.at("cpu").at("physical_cores").get<int>(), cpu_quota()));
  EXPECT_TRUE(info.at("training").is_boolean());
}

TEST(Info, AProcessorWithoutANameHasItsNumbers) {
  std::istringstream x86("processor\t: 0\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2400\n");
  EXPECT_EQ(cli::processor_name_in(x86), "AMD EPYC");
  std::istringstream aarch64(
      "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n");
  EXPECT_EQ(cli::processor_name_in(aarch64), "AArch64, implementer 0x41, part 0xd0c");
  std::istringstream nothing("processor\t: 0\n");
  EXPECT_EQ(cli::processor_name_in(nothing), "");
}

TEST(Usage, AFullStandardOutputIsAnError) {
  const auto result = run_program({"info"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("standard output"));
}

}  // namespace
}  // namespace lasnet::test
