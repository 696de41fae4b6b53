// Every link of the documentation leads somewhere, in the source tree and as installed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

namespace fs = std::filesystem;

/// As GitHub makes them of headings: lower case, no punctuation, dashes for spaces.
std::set<std::string> anchors(const std::string& markdown) {
  std::set<std::string> found;
  std::istringstream lines(markdown);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('#')) continue;
    std::string anchor;
    for (const char c : line.substr(line.find_first_not_of("# "))) {
      if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_') {
        anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      } else if (c == ' ') {
        anchor += '-';
      }
    }
    found.insert(anchor);
  }
  return found;
}

/// Links of a file that lead nowhere.
std::vector<std::string> dead_links(const fs::path& file) {
  static const std::regex link(R"(\]\(([^)\s#]*)(#[^)\s]*)?\))");
  const std::string text = read_text(file.string());
  std::vector<std::string> dead;
  for (std::sregex_iterator match(text.begin(), text.end(), link), end; match != end; ++match) {
    const std::string target = (*match)[1], anchor = (*match)[2];
    if (target.starts_with("http")) continue;
    const fs::path path = target.empty() ? file : file.parent_path() / target;
    const bool leads =
        fs::exists(path) && (anchor.empty() || anchors(read_text(path.string())).contains(anchor.substr(1)));
    if (!leads) dead.push_back(file.string() + ": " + target + anchor);
  }
  return dead;
}

/// Of all documents below `dir`, which hold at least `links` links.
void expect_live_links(const fs::path& dir, const std::vector<std::string>& documents) {
  for (const std::string& document : documents) {
    ASSERT_TRUE(fs::exists(dir / document)) << dir / document;
    for (const std::string& link : dead_links(dir / document)) ADD_FAILURE() << link;
  }
}

const std::vector<std::string> kDocuments = {
    "README.md",          "ARCHITECTURE.md",      "CHANGELOG.md",       "CONTRIBUTING.md",
    "SECURITY.md",        "docs/benchmarks.md",   "docs/budgets.md",    "docs/cuda.md",
    "docs/demo-data.md",  "docs/features.md",     "docs/glossary.md",   "docs/images.md",
    "docs/int8.md",       "docs/library.md",      "docs/prediction.md", "docs/python-torch.md",
    "docs/report.md",     "docs/training.md",     "docs/weights.md",    "models/README.md",
    "samples/SOURCES.md", "bench/peers/README.md"};

/// Paths that a text names as inline code, below the folders of the source tree.
std::vector<std::string> named_paths(const std::string& text) {
  static const std::regex path(
      R"(`((?:apps|bench|cmake|docs|examples|hardware|include|models|samples|scripts|src|tests)/[\w./-]+)`)");
  std::vector<std::string> named;
  for (std::sregex_iterator match(text.begin(), text.end(), path), end; match != end; ++match) {
    named.push_back((*match)[1]);
  }
  return named;
}

TEST(Links, PathsThatPagesNameExist) {
  for (const std::string& document : kDocuments) {
    if (document == "CHANGELOG.md") continue;  // it names what is gone
    for (const std::string& path : named_paths(read_text((fs::path(SOURCE_DIR) / document).string()))) {
      EXPECT_TRUE(fs::exists(fs::path(SOURCE_DIR) / path)) << document << ": " << path;
    }
  }
}

TEST(Links, PathsAreFoundInInlineCode) {
  EXPECT_EQ(named_paths("`src/a.h`, (`tests/b`) `make src/c` src/d `lib/e`"),
            (std::vector<std::string>{"src/a.h", "tests/b"}));
}

TEST(Links, OfTheSourceTreeLeadSomewhere) { expect_live_links(SOURCE_DIR, kDocuments); }

void install(const std::string& component, const std::string& prefix) {
  const std::string command = std::string(CMAKE) + " --install " + BUILD_DIR + " --component " + component +
                              " --prefix " + prefix + " >/dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

/// The one folder below `root` that has this name.
fs::path folder_named(const fs::path& root, const std::string& name) {
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_directory() && entry.path().filename() == name &&
        entry.path().parent_path().filename() == "doc") {
      return entry.path();
    }
  }
  return root / "nowhere";
}

TEST(Links, OfTheInstalledProgramLeadSomewhere) {
  const TemporaryDir dir;
  install("program", dir / "usr");
  expect_live_links(folder_named(dir / "usr", "lasnet"), kDocuments);
}

TEST(Links, ThatLeadNowhereAreFound) {
  const TemporaryDir dir;
  write_text(dir / "a.md",
             "# The Head, of it\n[x](b.md) [y](#the-head-of-it) [z](#tail) [w](https://example.org)\n");
  EXPECT_EQ(dead_links(dir / "a.md"),
            (std::vector<std::string>{(dir / "a.md") + ": b.md", (dir / "a.md") + ": #tail"}));
}

}  // namespace
}  // namespace lasnet::test
