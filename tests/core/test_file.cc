#include <sys/stat.h>

#include <filesystem>

#include "core/file.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

TEST(ReadFile, ReturnsAllBytes) {
  TemporaryDir dir;
  std::string content(200'000, 'x');
  content[100'000] = '\0';
  write_text(dir / "file", content);
  EXPECT_EQ(text_of(read_file(dir / "file")), content);
  write_text(dir / "empty", "");
  EXPECT_TRUE(read_file(dir / "empty").empty());
}

TEST(ReadFile, RefusesWhatIsNoRegularFile) {
  TemporaryDir dir;
  EXPECT_ERROR(read_file(dir / "absent"), AllOf(HasSubstr(dir / "absent"), HasSubstr("No such file")));
  EXPECT_ERROR(read_file(dir.path()), HasSubstr("got a folder"));
  EXPECT_ERROR(read_file("/dev/zero"), HasSubstr("expected a regular file"));
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(read_file(dir / "pipe"), HasSubstr("expected a regular file"));
}

TEST(CheckWritable, LeavesNothingAndTouchesNothing) {
  TemporaryDir dir;
  check_writable(dir / "absent");
  EXPECT_FALSE(std::filesystem::exists(dir / "absent"));
  write_text(dir / "file", "kept");
  check_writable(dir / "file");
  EXPECT_EQ(text_of(read_file(dir / "file")), "kept");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
  EXPECT_ERROR(check_writable(dir / "file/below"), HasSubstr(dir / "file/below"));
  EXPECT_ERROR(check_writable(dir.path()), HasSubstr("got a folder"));
}

TEST(HalfWritten, OnlyTemporaryFilesOfThatNameAreRemoved) {
  TemporaryDir dir;
  const std::vector<std::string> kept = {"file",
                                         "file.20240101.tmp",
                                         "file.2024-01.tmp",
                                         "file.lasnet-.tmp",
                                         "file.lasnet-12.tmp",
                                         "file.lasnet-1-2-3.tmp",
                                         "file.lasnet-12-0.txt",
                                         "file.tmp",
                                         "other.lasnet-12-0.tmp"};
  for (const std::string& name : kept) write_text(dir / name, "kept");
  write_text(dir / "file.lasnet-12-0.tmp", "half");
  write_text(dir / "file.lasnet-99999-17.tmp", "half");
  remove_half_written(dir / "file");
  for (const std::string& name : kept) EXPECT_TRUE(std::filesystem::exists(dir / name)) << name;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}),
            static_cast<std::ptrdiff_t>(kept.size()));
}

TEST(FolderLock, IsHeldByOneAtATime) {
  TemporaryDir dir;
  {
    const FolderLock lock(dir.path(), "taken");
    EXPECT_ERROR(FolderLock(dir.path(), "somebody writes here"),
                 AllOf(HasSubstr(dir.path()), HasSubstr("somebody writes here")));
  }
  const FolderLock again(dir.path(), "taken");
  EXPECT_ERROR(FolderLock(dir / "absent", "taken"), HasSubstr("No such file"));
}

TEST(ReadFile, RefusesMoreThanTheLimit) {
  TemporaryDir dir;
  write_text(dir / "file", "12345");
  EXPECT_EQ(text_of(read_file(dir / "file", 5)), "12345");
  EXPECT_ERROR(read_file(dir / "file", 4), HasSubstr("5 bytes, expected at most 4"));
}

TEST(ByteSource, ReadsPiecesOfFilesAndMemoryAndNothingOutside) {
  TemporaryDir dir;
  write_text(dir / "file", "0123456789");
  const std::vector<uint8_t> bytes = read_file(dir / "file");
  for (const ByteSource& source : {ByteSource::open(dir / "file"), ByteSource::memory(bytes, dir / "file")}) {
    EXPECT_EQ(source.size(), 10u);
    EXPECT_EQ(text_of(source.read(3, uint64_t{4})), "3456");
    EXPECT_TRUE(source.read(10, uint64_t{0}).empty());
    for (const auto& [offset, count] : {std::pair<uint64_t, uint64_t>{8, 3},
                                        {11, 0},
                                        {UINT64_MAX, 1},
                                        {1, UINT64_MAX},
                                        {0, uint64_t{1} << 62}}) {
      EXPECT_ERROR(source.read(offset, count), AllOf(HasSubstr(dir / "file"), HasSubstr("ends at byte 10")));
    }
  }
}

TEST(WriteFile, ReplacesOnlyOnSuccess) {
  TemporaryDir dir;
  std::string path = dir / "file";
  write_file_atomically(path, [](std::ostream& out) { out << "first"; });
  EXPECT_EQ(read_text(path), "first");
  write_file_atomically(path, [](std::ostream& out) { out << std::string(300'000, 'y'); });
  EXPECT_EQ(read_text(path), std::string(300'000, 'y'));

  auto broken = [](std::ostream& out) {
    out << "half";
    throw Error("no more");
  };
  EXPECT_ERROR(write_file_atomically(path, broken), HasSubstr("no more"));
  EXPECT_EQ(read_text(path), std::string(300'000, 'y'));
  EXPECT_EQ(dir.entries(), 1);
}

TEST(WriteFile, LeavesTheOldFileOnAFullDisk) {
  TemporaryDir dir;
  std::string path = dir / "file";
  write_text(path, "old");
  for (size_t size : {5'000u, 500'000u}) {  // within and beyond the stream's buffer
    FullDisk full(4096);
    auto write = [&](std::ostream& out) { out << std::string(size, 'z'); };
    EXPECT_ERROR(write_file_atomically(path, write), AllOf(HasSubstr(path), HasSubstr("writing failed")));
  }
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(dir.entries(), 1);
}

TEST(WriteFile, WritesDevicesDirectlyAndReportsTheirErrors) {
  auto write = [](std::ostream& out) { out << "text"; };
  EXPECT_ERROR(write_file_atomically("/dev/full", write), HasSubstr("No space left on device"));
  write_file_atomically("/dev/null", write);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

TEST(WriteFile, NamesFoldersThatAreMissingOrInTheWay) {
  TemporaryDir dir;
  auto write = [](std::ostream& out) { out << "text"; };
  EXPECT_ERROR(write_file_atomically(dir / "no/file", write),
               AllOf(HasSubstr("No such file or directory"), HasSubstr("make its folder")));
  EXPECT_ERROR(write_file_atomically(dir.path(), write), HasSubstr("got a folder"));
  EXPECT_EQ(dir.entries(), 0);
}

TEST(WriteFile, FollowsSymbolicLinksAndTheUmask) {
  TemporaryDir dir;
  write_text(dir / "target", "old");
  std::filesystem::create_symlink("target", dir / "link");
  mode_t old_mask = ::umask(0027);
  write_file_atomically(dir / "link", [](std::ostream& out) { out << "new"; });
  ::umask(old_mask);
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_EQ(read_text(dir / "target"), "new");
  struct stat status {};
  ASSERT_EQ(::stat((dir / "target").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

}  // namespace
}  // namespace lasnet::test
