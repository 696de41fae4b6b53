#include "interrupt.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>

namespace lasnet::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

/// Says so at once, as a step can take a minute: only with what a signal handler may call.
void on_interrupt(int) {
  interrupted = 1;
  constexpr std::string_view kText = "\nsaving after this step; once more to quit\n";
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText.data(), kText.size());
  errno = error;
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction before = {};
  if (sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, nullptr);
}

bool was_interrupted() { return interrupted != 0; }

}  // namespace lasnet::cli
