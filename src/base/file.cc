#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <streambuf>
#include <utility>

#include "base/fail.h"

namespace lasnet {
namespace {

/// An owned file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Closes now, so that an error the system reports only on closing is seen.
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

/// Temporary files are <name>.lasnet-<process>-<number>.tmp, as nobody else calls theirs.
constexpr std::string_view kTemporaryPrefix = ".lasnet-", kTemporarySuffix = ".tmp";

/// "12-0"
bool is_temporary_number(std::string_view text) {
  const size_t dash = text.find('-');
  const auto is_number = [](std::string_view digits) {
    return !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
  };
  return dash != std::string_view::npos && is_number(text.substr(0, dash)) &&
         is_number(text.substr(dash + 1));
}

std::string reason(int error) { return std::strerror(error); }

/// Buffered output to a descriptor that remembers why a write failed, which std::filebuf does not.
class DescriptorBuffer : public std::streambuf {
 public:
  explicit DescriptorBuffer(int fd) : fd_(fd) { setp(buffer_.data(), buffer_.data() + buffer_.size()); }

  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override {
    if (sync() != 0) return traits_type::eof();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }

  int sync() override {
    for (const char* from = pbase(); from < pptr() && error_ == 0;) {
      ssize_t written = ::write(fd_, from, static_cast<size_t>(pptr() - from));
      if (written >= 0) {
        from += written;
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
    setp(buffer_.data(), buffer_.data() + buffer_.size());
    return error_ == 0 ? 0 : -1;
  }

 private:
  int fd_;
  int error_ = 0;
  std::array<char, 1 << 16> buffer_;
};

/// Removes the file unless told to keep it.
struct TemporaryFile {
  std::string path;
  Descriptor descriptor;
  bool keep = false;

  TemporaryFile(std::string name, Descriptor opened) : path(std::move(name)), descriptor(std::move(opened)) {}
  TemporaryFile(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!keep) ::unlink(path.c_str());
  }
};

/// Opens a new file beside `target`, whose `mode` the umask restricts. Not mkstemp, whose 0600 would ignore
/// it.
std::pair<std::string, Descriptor> open_beside(const std::string& target, mode_t mode) {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    std::string path =
        fmt::format("{}{}{}-{}{}", target, kTemporaryPrefix, ::getpid(), counter++, kTemporarySuffix);
    int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0) return {path, Descriptor(fd)};
    if (errno == ENOENT) fail("{}: cannot be written: {}; make its folder first", target, reason(errno));
    if (errno != EEXIST) fail("{}: cannot be written: {}", target, reason(errno));
  }
}

void write_all(int fd, const std::string& path, const std::function<void(std::ostream&)>& write) {
  DescriptorBuffer buffer(fd);
  std::ostream stream(&buffer);
  write(stream);
  stream.flush();
  if (buffer.error() != 0) fail("{}: writing failed: {}", path, reason(buffer.error()));
  if (!stream) fail("{}: writing failed", path);
}

/// Pipes and devices cannot be replaced by a rename and are written directly.
void write_to_device(const std::string& path, const std::function<void(std::ostream&)>& write) {
  Descriptor device(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!device) fail("{}: cannot be written: {}", path, reason(errno));
  write_all(device.get(), path, write);
  if (!device.close()) fail("{}: writing failed: {}", path, reason(errno));
}

/// A mount point cannot be renamed over. Where the system does not say what is one, nothing is.
bool is_mount_point(const std::string& path) {
  struct statx status {};
  if (::statx(AT_FDCWD, path.c_str(), 0, 0, &status) != 0) return false;
  return (status.stx_attributes_mask & status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

[[noreturn]] void refuse_mount_point(const std::string& path) {
  fail(
      "{}: cannot be replaced, because it is mounted (into a container?). Mount its folder instead, or write "
      "to "
      "another name",
      path);
}

/// The file that is replaced, if there is one. Its mode says whether it may be; the folder's alone would let
/// a read-only file go.
std::optional<struct stat> replaced_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  constexpr mode_t kAnyWrite = S_IWUSR | S_IWGRP | S_IWOTH;
  if ((status.st_mode & kAnyWrite) == 0 || ::access(path.c_str(), W_OK) != 0) {
    fail(
        "{}: is there and read-only for this user (mode {:03o}); make it writable (chmod u+w), remove it, or "
        "write to another name",
        path, status.st_mode & 0777);
  }
  if (is_mount_point(path)) refuse_mount_point(path);
  return status;
}

/// Gives a new file the mode of the one it replaces, and its owner where the system allows that.
void take_mode(int fd, const struct stat& old, const std::string& path) {
  constexpr mode_t kModeBits = 07777;
  const bool same_owner = ::fchown(fd, old.st_uid, old.st_gid) == 0;
  // Without its owner, a mode must not give rights in another's name.
  const mode_t mode = same_owner ? old.st_mode & kModeBits : old.st_mode & 0777;
  if (::fchmod(fd, mode) != 0) fail("{}: the mode of the old file cannot be kept: {}", path, reason(errno));
}

void write_and_rename(const std::string& path, const std::function<void(std::ostream&)>& write) {
  const std::optional<struct stat> old = replaced_file(path);
  auto [name, descriptor] = open_beside(path, old ? old->st_mode & 0666 : 0666);
  TemporaryFile temporary(std::move(name), std::move(descriptor));
  if (old) take_mode(temporary.descriptor.get(), *old, path);
  write_all(temporary.descriptor.get(), path, write);
  if (::fsync(temporary.descriptor.get()) != 0 || !temporary.descriptor.close()) {
    fail("{}: writing failed: {}", path, reason(errno));
  }
  if (::rename(temporary.path.c_str(), path.c_str()) != 0) {
    if (errno == EBUSY) refuse_mount_point(path);
    fail("{}: cannot be replaced: {}", path, reason(errno));
  }
  temporary.keep = true;
}

/// The file behind symbolic links, which is replaced in their stead; it need not be there.
std::string behind_links(const std::string& path) {
  constexpr int kMaxLinks = 40;  // as the system's
  std::filesystem::path target = path;
  std::error_code error;
  for (int links = 0; links < kMaxLinks; ++links) {
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(target, error))) return target.string();
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) fail("{}: cannot be written: {}", path, error.message());
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  fail("{}: cannot be written: {}", path, reason(ELOOP));
}

/// A buffer of `size` bytes, or Error when memory does not suffice.
std::vector<uint8_t> allocate(uint64_t size, const std::string& path) try {
  return std::vector<uint8_t>(size);
} catch (const std::bad_alloc&) {
  fail("{}: not enough memory for its {} bytes", path, size);
} catch (const std::length_error&) {
  fail("{}: not enough memory for its {} bytes", path, size);
}

void read_from_file(int fd, const std::string& path, uint64_t offset, std::span<uint8_t> to) {
  while (!to.empty()) {
    ssize_t got = ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("{}: cannot be read: {}", path, reason(errno));
    if (got == 0) fail("{}: became shorter while it was read", path);
    offset += static_cast<uint64_t>(got);
    to = to.subspan(static_cast<size_t>(got));
  }
}

}  // namespace

ByteSource ByteSource::open(const std::string& path) {
  auto file = std::make_shared<Descriptor>(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!*file) fail("{}: cannot be opened: {}", path, reason(errno));
  struct stat status {};
  if (::fstat(file->get(), &status) != 0) fail("{}: cannot be read: {}", path, reason(errno));
  if (S_ISDIR(status.st_mode)) fail("{}: expected a file, got a folder", path);
  if (!S_ISREG(status.st_mode)) fail("{}: expected a regular file, got a device or pipe", path);
  return {path, static_cast<uint64_t>(status.st_size), [file, path](uint64_t offset, std::span<uint8_t> to) {
            read_from_file(file->get(), path, offset, to);
          }};
}

ByteSource ByteSource::memory(std::span<const uint8_t> bytes, std::string origin) {
  return {std::move(origin), bytes.size(), [bytes](uint64_t offset, std::span<uint8_t> to) {
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
          }};
}

void ByteSource::check_inside(uint64_t offset, uint64_t count) const {
  if (offset > size_ || count > size_ - offset) {
    fail("{}: {} bytes at byte {} are needed, the file ends at byte {}", origin_, count, offset, size_);
  }
}

void ByteSource::read(uint64_t offset, std::span<uint8_t> to) const {
  check_inside(offset, to.size());
  reader_(offset, to);
}

std::vector<uint8_t> ByteSource::read(uint64_t offset, uint64_t count) const {
  check_inside(offset, count);
  std::vector<uint8_t> bytes = allocate(count, origin_);
  reader_(offset, bytes);
  return bytes;
}

std::vector<uint8_t> read_file(const std::string& path, uint64_t limit) {
  const ByteSource file = ByteSource::open(path);
  if (file.size() > limit) fail("{}: {} bytes, expected at most {}", path, file.size(), limit);
  return file.read(0, file.size());
}

void write_file_atomically(const std::string& path, const std::function<void(std::ostream&)>& write) {
  std::error_code error;
  std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) fail("{}: expected a file, got a folder", path);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    write_to_device(path, write);
    return;
  }
  write_and_rename(behind_links(path), write);
}

void remove_half_written(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path target(path);
  const std::string prefix = target.filename().string() + std::string(kTemporaryPrefix);
  std::error_code error;
  std::vector<fs::path> found;
  fs::directory_iterator entry(target.parent_path(), error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(kTemporarySuffix)) continue;
    const size_t length = name.size() - kTemporarySuffix.size();
    if (length > prefix.size() &&
        is_temporary_number(std::string_view(name).substr(prefix.size(), length - prefix.size())))
      found.push_back(entry->path());
  }
  for (const fs::path& leftover : found) fs::remove(leftover, error);
}

FolderLock::FolderLock(const std::string& folder, const std::string& taken) {
  const auto opened =
      std::make_shared<Descriptor>(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!*opened) fail("{}: cannot be opened: {}", folder, reason(errno));
  if (::flock(opened->get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) fail("{}: {}", folder, taken);
  folder_ = opened;
}

void check_writable(const std::string& path) {
  struct Opened {};
  try {
    write_file_atomically(path, [](std::ostream&) { throw Opened(); });
  } catch (const Opened&) {
  }
}

}  // namespace lasnet
