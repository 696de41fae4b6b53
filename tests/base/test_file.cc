#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
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

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

void write_new(const std::string& path) {
  write_file_atomically(path, [](std::ostream& out) { out << "new"; });
}

TEST(WriteFile, NewFilesFollowTheUmask) {
  TemporaryDir dir;
  mode_t old_mask = ::umask(0027);
  write_new(dir / "file");
  ::umask(old_mask);
  EXPECT_EQ(mode_of(dir / "file"), 0640u);
}

TEST(WriteFile, ReplacedFilesKeepTheirMode) {
  TemporaryDir dir;
  for (const mode_t mode : {0600u, 0640u, 0755u, 0666u, 0222u}) {
    write_text(dir / "file", "old");
    ASSERT_EQ(::chmod((dir / "file").c_str(), mode), 0);
    write_new(dir / "file");
    EXPECT_EQ(mode_of(dir / "file"), mode);
    ASSERT_EQ(::chmod((dir / "file").c_str(), 0600), 0);
    EXPECT_EQ(read_text(dir / "file"), "new");
  }
}

TEST(WriteFile, ReadOnlyFilesAreRefusedBeforeTheWork) {
  TemporaryDir dir;
  write_text(dir / "file", "old");
  ASSERT_EQ(::chmod((dir / "file").c_str(), 0444), 0);
  for (const auto& attempt : {write_new, check_writable}) {
    EXPECT_ERROR(attempt(dir / "file"),
                 AllOf(HasSubstr(dir / "file"), HasSubstr("read-only for this user (mode 444)"),
                       HasSubstr("chmod u+w")));
  }
  EXPECT_EQ(read_text(dir / "file"), "old");
  EXPECT_EQ(dir.entries(), 1);
}

TEST(WriteFile, FollowsSymbolicLinks) {
  TemporaryDir dir;
  write_text(dir / "folder/target", "old");
  std::filesystem::create_symlink("folder/target", dir / "link");
  std::filesystem::create_symlink("link", dir / "link of link");
  write_new(dir / "link of link");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link of link"));
  EXPECT_EQ(read_text(dir / "folder/target"), "new");
}

TEST(WriteFile, FollowsLinksToFilesThatAreNotThereYet) {
  TemporaryDir dir;
  std::filesystem::create_directory(dir / "folder");
  std::filesystem::create_symlink("folder/later", dir / "link");
  std::filesystem::create_symlink(dir / "link", dir / "absolute");
  write_new(dir / "absolute");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link"));
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "absolute"));
  EXPECT_EQ(read_text(dir / "folder/later"), "new");
}

TEST(WriteFile, RefusesLinksThatLeadNowhere) {
  TemporaryDir dir;
  std::filesystem::create_symlink("no/folder/file", dir / "link");
  EXPECT_ERROR(write_new(dir / "link"), AllOf(HasSubstr("no/folder/file"), HasSubstr("make its folder")));
  std::filesystem::create_symlink("two", dir / "one");
  std::filesystem::create_symlink("one", dir / "two");
  EXPECT_ERROR(write_new(dir / "one"), AllOf(HasSubstr(dir / "one"), HasSubstr("symbolic links")));
  EXPECT_EQ(dir.entries(), 3);
}

enum MountedFile : int { kRefused = 0, kCannotMount = 1, kWritten = 2, kOtherMessage = 3 };

/// In a child with mounts of its own, what happens to a file that another is mounted on.
MountedFile write_mounted(const std::string& path, const std::string& source) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(kCannotMount);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(kCannotMount);
    if (::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) ::_exit(kCannotMount);
    try {
      check_writable(path);
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("Mount its folder instead") == std::string::npos ? kOtherMessage
                                                                                              : kRefused);
    }
    ::_exit(kWritten);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? static_cast<MountedFile>(WEXITSTATUS(status)) : kOtherMessage;
}

TEST(WriteFile, MountPointsAreRefusedBeforeTheWorkWithAdvice) {
  TemporaryDir dir;
  write_text(dir / "file", "inside");
  write_text(dir / "source", "outside");
  const MountedFile result = write_mounted(dir / "file", dir / "source");
  if (result == kCannotMount) GTEST_SKIP() << "this process may not mount";
  EXPECT_EQ(result, kRefused);
  EXPECT_EQ(dir.entries(), 2);
}

}  // namespace
}  // namespace lasnet::test
