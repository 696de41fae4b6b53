#include "local_processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fail.h"
#include "base/stopwatch.h"
#include "log.h"

namespace lasnet::cli {
namespace {

/// That the others have to end by themselves once one of them has failed.
constexpr double kGrace = 30;
constexpr std::chrono::milliseconds kPoll{20};

struct Rank {
  int number = 0;
  pid_t pid = 0;
  int errors = -1;  ///< a file with what it wrote to standard error, or -1
  int status = 0;   ///< of waitpid
  bool running = true;

  bool killed() const { return !running && WIFSIGNALED(status); }
  int exit_code() const { return killed() ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }
};

/// Those that were asked for and not passed on yet.
volatile std::sig_atomic_t signals_to_pass[NSIG];

void remember(int signal) { signals_to_pass[signal] = signals_to_pass[signal] + 1; }

constexpr std::array kPassedOn = {SIGINT, SIGTERM, SIGHUP};

void install_handlers() {
  struct sigaction action = {};
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;
  for (const int signal : kPassedOn) {
    struct sigaction before = {};
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
      sigaction(signal, &action, nullptr);
  }
}

/// A port that is free now.
int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool found = socket >= 0 && bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  if (socket >= 0) close(socket);
  if (!found) fail("no free port on this machine: {}", std::strerror(errno));
  return ntohs(address.sin_port);
}

int temporary_file() {
  std::string path = (std::getenv("TMPDIR") != nullptr ? std::string(std::getenv("TMPDIR")) : "/tmp") +
                     "/lasnet-train-XXXXXX";
  const int file = mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) fail("{}: cannot be created: {}", path, std::strerror(errno));
  unlink(path.c_str());
  return file;
}

[[noreturn]] void become_rank(const Rank& rank, pid_t parent, char** argv) {
  setenv("RANK", std::to_string(rank.number).c_str(), 1);
  setenv("LOCAL_RANK", std::to_string(rank.number).c_str(), 1);
  // A signal of the terminal is for the parent alone, which passes it on once.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  if (rank.errors >= 0) {
    dup2(rank.errors, STDOUT_FILENO);
    dup2(rank.errors, STDERR_FILENO);
  }
  execv("/proc/self/exe", argv);
  _exit(127);
}

std::vector<Rank> start(int count, char** argv) {
  const std::string size = std::to_string(count);
  for (const char* name : {"WORLD_SIZE", "LOCAL_WORLD_SIZE"}) setenv(name, size.c_str(), 1);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", std::to_string(free_port()).c_str(), 1);
  std::vector<Rank> ranks;
  const pid_t parent = getpid();
  for (int number = 0; number < count; ++number) {
    Rank rank{.number = number};
    if (number > 0) rank.errors = temporary_file();
    rank.pid = fork();
    if (rank.pid == 0) become_rank(rank, parent, argv);
    if (rank.pid < 0) {
      const std::string reason = std::strerror(errno);
      for (const Rank& started : ranks) kill(started.pid, SIGKILL);
      fail("process {} of {} cannot be started: {}", number + 1, count, reason);
    }
    ranks.push_back(rank);
  }
  return ranks;
}

void pass_signals_on(const std::vector<Rank>& ranks) {
  for (const int signal : kPassedOn) {
    while (signals_to_pass[signal] > 0) {
      signals_to_pass[signal] = signals_to_pass[signal] - 1;
      for (const Rank& rank : ranks)
        if (rank.running) kill(rank.pid, signal);
    }
  }
}

void wait_for(std::vector<Rank>& ranks) {
  std::optional<Stopwatch> failing;
  const auto is_running = [](const Rank& rank) { return rank.running; };
  while (std::ranges::any_of(ranks, is_running)) {
    pass_signals_on(ranks);
    for (Rank& rank : ranks) {
      if (!rank.running || waitpid(rank.pid, &rank.status, WNOHANG) != rank.pid) continue;
      rank.running = false;
      if (rank.killed()) {
        log_warning(fmt::format("rank {} (process {}) was killed by signal {} ({})", rank.number, rank.pid,
                                WTERMSIG(rank.status), strsignal(WTERMSIG(rank.status))));
      }
      if (rank.exit_code() != 0 && !failing) failing.emplace();
    }
    if (failing && failing->seconds() > kGrace) {
      for (const Rank& rank : ranks)
        if (rank.running) kill(rank.pid, SIGKILL);
    }
    std::this_thread::sleep_for(kPoll);
  }
}

void show_errors(const Rank& rank) {
  lseek(rank.errors, 0, SEEK_SET);
  std::array<char, 4096> text{};
  for (ssize_t count = 0; (count = read(rank.errors, text.data(), text.size())) > 0;)
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), static_cast<size_t>(count));
}

}  // namespace

int run_local_processes(int count, char** argv) {
  install_handlers();
  std::vector<Rank> ranks = start(count, argv);
  wait_for(ranks);
  const auto failed = [](const Rank& rank) { return rank.exit_code() != 0; };
  const auto first = std::ranges::find_if(ranks, failed);
  if (first == ranks.end()) return 0;
  // Rank 0 names whoever failed, unless it is lost itself.
  const bool told = ranks[0].exit_code() != 0 && !ranks[0].killed();
  if (told) return ranks[0].exit_code();
  for (const Rank& rank : ranks) {
    if (rank.number == 0 || rank.killed() || rank.exit_code() == 0) continue;
    show_errors(rank);
    return rank.exit_code();
  }
  return first->exit_code();
}

}  // namespace lasnet::cli
