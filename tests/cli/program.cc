#include "program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>

namespace lasnet::test {
namespace {

constexpr std::chrono::minutes kDeadline{2};

struct Pipe {
  std::array<int, 2> ends{};

  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  }
  explicit Pipe(int read_end) : ends{read_end, -1} {}
};

/// A terminal that passes on what is written to it as it is.
Pipe open_terminal(int columns) {
  Pipe pair(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (grantpt(pair.ends[0]) != 0 || unlockpt(pair.ends[0]) != 0)
    throw std::runtime_error("no pseudo-terminal can be had; is /dev/pts mounted?");
  pair.ends[1] = open(ptsname(pair.ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
  termios modes{};
  tcgetattr(pair.ends[1], &modes);
  cfmakeraw(&modes);
  tcsetattr(pair.ends[1], TCSANOW, &modes);
  const winsize size{
      .ws_row = 24, .ws_col = static_cast<unsigned short>(columns), .ws_xpixel = 0, .ws_ypixel = 0};
  ioctl(pair.ends[1], TIOCSWINSZ, &size);
  return pair;
}

[[noreturn]] void become_program(const std::vector<std::string>& arguments, const ProgramOptions& options,
                                 int out, int err) {
  for (const std::string& variable : options.environment) putenv(const_cast<char*>(variable.c_str()));
  if (!options.stdout_path.empty()) out = open(options.stdout_path.c_str(), O_WRONLY);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (options.file_size_limit >= 0) {
    const auto limit = static_cast<rlim_t>(options.file_size_limit);
    const rlimit both{limit, limit};
    setrlimit(RLIMIT_FSIZE, &both);
    signal(SIGXFSZ, SIG_IGN);  // writes then fail, as on a full disk
  }
  if (options.memory_limit >= 0) {
    const auto limit = static_cast<rlim_t>(options.memory_limit);
    const rlimit both{limit, limit};
    setrlimit(RLIMIT_DATA, &both);
  }
  std::vector<char*> argv = {const_cast<char*>("lasnet")};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(LASNET_PROGRAM, argv.data());
  _exit(127);
}

/// Appends what is there; closes the descriptor and sets it to -1 at the end.
void drain(int& fd, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(fd, buffer.data(), buffer.size());
  if (count > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  } else {
    close(fd);
    fd = -1;
  }
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  Pipe out = options.terminal_columns > 0 ? open_terminal(options.terminal_columns) : Pipe(), err;
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    become_program(arguments, options, out.ends[1], options.terminal_columns > 0 ? out.ends[1] : err.ends[1]);
  }
  close(out.ends[1]);
  close(err.ends[1]);

  ProgramResult result;
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  bool interrupted = !options.interrupt_when;
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    std::array<pollfd, 2> polled{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
    poll(polled.data(), polled.size(), 200);
    if (polled[0].revents != 0) drain(out.ends[0], result.out);
    if (polled[1].revents != 0) drain(err.ends[0], result.err);
    if (!interrupted && options.interrupt_when(result.err)) {
      kill(child, options.interrupt_signal);
      interrupted = true;
    }
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "the program did not end; it wrote:\n" << result.err;
      kill(child, SIGKILL);
      break;
    }
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  for (const timeval& time : {usage.ru_utime, usage.ru_stime}) {
    result.cpu_seconds += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

nlohmann::json report_of(const std::vector<std::string>& arguments) {
  const auto result = run_program(with(arguments, {"--json"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.json();
}

}  // namespace lasnet::test
