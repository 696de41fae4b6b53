// The programs that the documentation shows end with a message where something is wrong, never with an abort.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdlib>

#include "lasnet/model.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

class Programs : public testing::TestWithParam<const char*> {
 protected:
  Outcome run(const std::string& arguments) const {
    const std::string command = std::string(GetParam()) + " " + arguments + " <" + SOURCE_DIR + "/LICENSE >" +
                                (dir_ / "out") + " 2>" + (dir_ / "err");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(dir_ / "out"), read_text(dir_ / "err")};
  }
  /// What follows MODEL on the program's command line.
  static std::string input() {
    return std::string(GetParam()) == VIDEO ? "32 32" : std::string(SOURCE_DIR) + "/samples/fruit_fig.jpg";
  }

  TemporaryDir dir_;
};

TEST_P(Programs, NameTheFileThatIsMissing) {
  const Outcome outcome = run((dir_ / "absent.safetensors") + " " + input());
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(dir_ / "absent.safetensors"), Not(HasSubstr("terminate"))));
}

TEST_P(Programs, SayHowTheyAreUsed) {
  const Outcome outcome = run("");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("usage: "));
}

TEST_P(Programs, RunAModelWithoutClassNames) {
  Model model;
  model.spec = make_spec({.name = "resnet18", .width = 0.125, .classes = 3, .granularity = {4, 4, 2, 1}});
  model.weights = random_weights(model.spec, 1);
  model.preprocessing.resize = model.preprocessing.crop = 32;
  save_model(model, dir_ / "nameless.safetensors");
  const Outcome outcome = run((dir_ / "nameless.safetensors") + " " + input());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::ContainsRegex("[012]"));
}

INSTANTIATE_TEST_SUITE_P(Shown, Programs, testing::Values(DOCUMENTED, CLASSIFY, THREADS, VIDEO),
                         [](const auto& program) {
                           const std::string path = program.param;
                           return path.substr(path.rfind('/') + 1);
                         });

TEST(Documented, ClassifiesAsTheDocumentationSays) {
  const TemporaryDir dir;
  const std::string source = SOURCE_DIR;
  const std::string command = std::string(DOCUMENTED) + " " + source + "/models/demo.safetensors " + source +
                              "/samples/bird_nuthatch.jpg >" + (dir / "out");
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(read_text(dir / "out"), "bird, from 54.6 % of the MACs\n");
}

}  // namespace
}  // namespace lasnet::test
