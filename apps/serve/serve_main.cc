// lasnet-serve, which `lasnet serve` becomes: options, signals, and what they start and end.
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <optional>
#include <thread>

#include "access_log.h"
#include "base/stopwatch.h"
#include "http_server.h"
#include "log.h"
#include "program.h"
#include "serve_options.h"
#include "service.h"
#include "session_options.h"

namespace lasnet::serve {
namespace {

/// "2026-11-30T10:20:30.123Z".
std::string utc_time() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  tm fields = {};
  gmtime_r(&now.tv_sec, &fields);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &fields);
  return fmt::format("{}.{:03}Z", text, now.tv_nsec / 1'000'000);
}

Json log_line(const Exchange& exchange) {
  Json line = {{"time", utc_time()},
               {"peer", exchange.request.peer},
               {"method", exchange.request.method},
               {"path", exchange.request.path},
               {"status", exchange.response.status},
               {"bytes_in", exchange.bytes_in},
               {"bytes_out", exchange.bytes_out},
               {"ms", rounded_ms(exchange.seconds)}};
  line.update(exchange.response.notes);
  return line;
}

sigset_t handled_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

/// Waits for signals in a thread of its own, as handlers of them may do next to nothing.
class SignalThread {
 public:
  SignalThread(std::function<void()> on_stop, std::function<void()> on_reload)
      : on_stop_(std::move(on_stop)), on_reload_(std::move(on_reload)), thread_([this] { run(); }) {}
  ~SignalThread() {
    is_ending_ = true;
    pthread_kill(thread_.native_handle(), SIGHUP);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void run() {
    const sigset_t signals = handled_signals();
    bool is_stopping = false;
    while (true) {
      int signal = 0;
      if (sigwait(&signals, &signal) != 0) continue;
      if (is_ending_) return;
      if (signal == SIGHUP) {
        on_reload_();
      } else if (is_stopping) {
        _exit(cli::kExitInterrupted);
      } else {
        is_stopping = true;
        on_stop_();
      }
    }
  }

  const std::function<void()> on_stop_, on_reload_;
  std::atomic<bool> is_ending_ = false;
  std::thread thread_;
};

void say_what_is_served(const HttpServer& server, const ServeOptions& options, double seconds) {
  std::string names;
  for (const ModelSource& source : sources_of(options)) names += (names.empty() ? "" : ", ") + source.name;
  cli::log_info(fmt::format("ready after {:.2f} s: {} serves {} ({} worker{}, {} thread{} each)", seconds,
                            server.url(), names, options.scheduler.workers,
                            options.scheduler.workers == 1 ? "" : "s", options.scheduler.threads,
                            options.scheduler.threads == 1 ? "" : "s"));
  const std::string& host = options.http.host;
  const bool is_loopback = host.starts_with("127.") || host == "::1" || host == "localhost";
  if (!is_loopback && options.api_keys.empty()) {
    cli::log_warning(fmt::format(
        "--host {}: whoever reaches this address may use the server; --api-key asks for a key", host));
  }
}

int serve(ServeOptions options) {
  const Stopwatch watch;
  options.scheduler.threads = options.session.threads;
  const sigset_t signals = handled_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // all threads inherit that
  const auto load = [&](const ModelSource& source) { return load_served_model(source, options.session); };
  const auto load_keys = [&] {
    return options.api_keys.empty() ? ApiKeys() : ApiKeys::load(options.api_keys);
  };
  Service service(sources_of(options), load, load_keys, options.scheduler);
  std::optional<AccessLog> log;
  if (options.has_access_log)
    log.emplace(options.access_log, [&](size_t lines) { service.metrics().count_lost_log_lines(lines); });
  const auto observe = [&](const Exchange& exchange) {
    service.metrics().count_request(to_string(route_of(exchange.request.path).endpoint),
                                    exchange.response.status);
    if (log) log->write(log_line(exchange));
  };
  HttpServer server(options.http,
                    {.admit = [&](const HttpRequest& head) { return service.admit(head); },
                     .aligned_byte = Service::aligned_byte,
                     .handle = [&](const HttpRequest& request,
                                   const auto& is_gone) { return service.handle(request, is_gone); },
                     .observe = observe});
  service.set_levels([&] { return Levels{0, server.connections(), server.body_bytes()}; });
  const SignalThread signal_thread(
      [&] {
        cli::log_info("stopping: answering what is under way");
        service.begin_drain();
        server.stop();
      },
      [&] {
        if (log) log->reopen();
        if (service.reload()) cli::log_info("reloaded");
      });
  say_what_is_served(server, options, watch.seconds());
  if (!server.run()) {
    cli::log_error("--drain: requests were still under way at its end; they are cut off");
    _exit(cli::kExitError);
  }
  cli::log_info("stopped");
  return 0;
}

int run_command(int argc, char** argv) {
  const auto parser = cli::make_parser("lasnet serve", "Answer requests over HTTP");
  ServeOptions options;
  add_serve_options(*parser, options);
  if (const int code = cli::parse(*parser, argc, argv); code >= 0) return code;
  return serve(std::move(options));
}

}  // namespace
}  // namespace lasnet::serve

int main(int argc, char** argv) {
  return lasnet::cli::guarded([&] { return lasnet::serve::run_command(argc, argv); });
}
