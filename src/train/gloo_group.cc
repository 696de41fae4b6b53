// Processes connected by torch's own engine: c10d's store, where they meet, and its Gloo process group.
#include <arpa/inet.h>
#include <gloo/context.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/fail.h"
#include "base/stopwatch.h"
#include "train/config.h"
#include "train/peer_watch.h"
#include "train/process_group.h"

namespace lasnet {
namespace {

using std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

/// How often a process that waits for others looks whether one of them is lost.
constexpr milliseconds kLook{500};
constexpr milliseconds kMeetingPoll{50}, kFarewell{1000};
/// The watch of the processes bounds every wait, not Gloo's own clock.
constexpr std::chrono::hours kUnbounded{24 * 365};

milliseconds duration(double seconds) { return milliseconds(static_cast<int64_t>(1e3 * seconds)); }

std::string key(const char* what, int rank) { return fmt::format("{}/{}", what, rank); }

/// Its first line, without where in libtorch it was thrown.
std::string reason_of(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

std::string this_process() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return fmt::format("process {}", getpid());
  return fmt::format("{}, process {}", host.data(), getpid());
}

std::string place_of(const Processes& processes) {
  return fmt::format("{}:{} (MASTER_ADDR, MASTER_PORT)", processes.address, processes.port);
}

StorePointer connect_store(const Processes& processes, bool serves) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(processes.port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = duration(processes.join_seconds);
  StorePointer store;
  try {
    store = c10::make_intrusive<c10d::TCPStore>(processes.address, options);
  } catch (const std::exception& error) {
    if (serves) {
      fail(
          "rank 0 cannot meet the other processes at {}: {}; expected an address of this machine and a free "
          "port",
          place_of(processes), reason_of(error));
    }
    fail(
        "rank {}: no process answers at {} within {:g} s: {}; is it the machine of rank 0, and was rank 0 "
        "started?",
        processes.rank, place_of(processes), processes.join_seconds, reason_of(error));
  }
  return c10::make_intrusive<c10d::PrefixStore>("lasnet", store);
}

void set_text(c10d::Store& store, const std::string& key, const std::string& text) {
  store.set(key, {text.begin(), text.end()});
}

std::string get_text(c10d::Store& store, const std::string& key) {
  const std::vector<uint8_t> bytes = store.get(key);
  return {bytes.begin(), bytes.end()};
}

/// How many processes say that they are this rank. Something else may listen there, and never answer.
int64_t first_answer(const StorePointer& store, const Processes& processes) {
  std::packaged_task<int64_t()> ask(
      [store, rank = processes.rank] { return store->add(key("claims", rank), 1); });
  std::future<int64_t> answer = ask.get_future();
  std::thread(std::move(ask)).detach();
  if (answer.wait_for(duration(processes.join_seconds)) != std::future_status::ready) {
    fail("rank {}: what listens at {} is no process of this run; give a free MASTER_PORT of rank 0's machine",
         processes.rank, place_of(processes));
  }
  return answer.get();
}

std::vector<int> missing_ranks(c10d::Store& store, int size) {
  std::vector<int> missing;
  for (int rank = 0; rank < size; ++rank)
    if (!store.check({key("name", rank)})) missing.push_back(rank);
  return missing;
}

constexpr const char* kRefused = "refused";

/// Waits until every rank is there. Returns their names.
std::vector<std::string> meet(const StorePointer& pointer, const Processes& processes) {
  const Stopwatch since;
  c10d::Store& store = *pointer;
  if (first_answer(pointer, processes) > 1) {
    fail("two processes say that they are rank {} of {}; give each its own RANK", processes.rank,
         place_of(processes));
  }
  set_text(store, key("size", processes.rank), std::to_string(processes.size));
  set_text(store, key("name", processes.rank), this_process());
  std::vector<int> missing = missing_ranks(store, processes.size);
  while (!missing.empty()) {
    if (store.check({kRefused})) fail("rank 0: {}", get_text(store, kRefused));
    if (since.seconds() > processes.join_seconds) {
      fail(
          "{} of {} processes did not come to {} within {:g} s: rank {} is missing; were all of them "
          "started?",
          missing.size(), processes.size, place_of(processes), processes.join_seconds,
          fmt::join(missing, ", "));
    }
    std::this_thread::sleep_for(kMeetingPoll);
    missing = missing_ranks(store, processes.size);
  }
  std::vector<std::string> names;
  for (int rank = 0; rank < processes.size; ++rank) {
    const std::string size = get_text(store, key("size", rank));
    if (size != std::to_string(processes.size))
      fail("rank {} was started with WORLD_SIZE={}, rank {} with {}; expected the same", rank, size,
           processes.rank, processes.size);
    names.push_back(fmt::format("rank {} ({})", rank, get_text(store, key("name", rank))));
  }
  return names;
}

/// The address that this machine has towards rank 0. The host's own name would often stand for the loopback.
std::string address_towards(const Processes& processes) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(processes.address.c_str(), std::to_string(processes.port).c_str(), &hints, &found) != 0)
    return processes.address;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> keep(found, freeaddrinfo);
  for (const addrinfo* target = found; target != nullptr; target = target->ai_next) {
    const int socket = ::socket(target->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    // Nothing is sent: this only asks for the route.
    const bool known = connect(socket, target->ai_addr, target->ai_addrlen) == 0 &&
                       getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0;
    close(socket);
    std::array<char, NI_MAXHOST> text{};
    if (known && getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                             NI_NUMERICHOST) == 0)
      return text.data();
  }
  return processes.address;
}

class UnboundedGloo : public c10d::ProcessGroupGloo {
 public:
  using ProcessGroupGloo::ProcessGroupGloo;

  void wait_without_bound() {
    for (const auto& context : contexts_) context->setTimeout(kUnbounded);
  }
};

c10::intrusive_ptr<UnboundedGloo> connect_gloo(const StorePointer& store, const Processes& processes) {
  auto options = c10d::ProcessGroupGloo::Options::create(duration(processes.join_seconds));
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices = {interface != nullptr
                          ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                          : c10d::ProcessGroupGloo::createDeviceForHostname(address_towards(processes))};
  auto gloo = c10::make_intrusive<UnboundedGloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store),
                                                 processes.rank, processes.size, options);
  gloo->wait_without_bound();
  return gloo;
}

class GlooGroup : public ProcessGroup {
 public:
  explicit GlooGroup(const Processes& processes);
  ~GlooGroup() override;

  std::unique_ptr<Work> begin_sum(torch::Tensor values) override;
  std::unique_ptr<Work> begin_broadcast(torch::Tensor values) override;
  void check() override;
  void abandon(const std::string& why) override;

  /// Throws Error that names who is lost.
  [[noreturn]] void lose(const std::string& reason);

 private:
  void connect(const Processes& processes);

  StorePointer store_;
  c10::intrusive_ptr<UnboundedGloo> gloo_;
  std::unique_ptr<PeerWatch> watch_;
};

class GlooWork : public ProcessGroup::Work {
 public:
  GlooWork(GlooGroup& group, c10::intrusive_ptr<c10d::Work> work) : group_(group), work_(std::move(work)) {}

  void wait() override {
    while (!work_->isCompleted()) {
      try {
        work_->wait(kLook);
      } catch (const std::exception&) {
        // It failed, or it takes longer.
        if (!work_->isCompleted()) group_.check();
      }
    }
    if (!work_->isSuccess()) group_.lose(reason());
  }

 private:
  std::string reason() const {
    try {
      std::rethrow_exception(work_->exception());
    } catch (const std::exception& error) {
      return reason_of(error);
    }
  }

  GlooGroup& group_;
  c10::intrusive_ptr<c10d::Work> work_;
};

GlooGroup::GlooGroup(const Processes& processes) {
  store_ = connect_store(processes, /*serves=*/processes.rank == 0);
  std::vector<std::string> names;
  try {
    names = meet(store_, processes);
    gloo_ = connect_gloo(store_, processes);
  } catch (const Error& error) {
    if (processes.rank == 0) {
      set_text(*store_, kRefused, error.what());
      std::this_thread::sleep_for(kFarewell);  // the store ends with this process
    }
    throw;
  } catch (const std::exception& error) {
    fail("rank {}: the processes that met at {} cannot reach each other: {}", processes.rank,
         place_of(processes), reason_of(error));
  }
  watch_ = std::make_unique<PeerWatch>(connect_store(processes, /*serves=*/false), processes.rank, names);
}

GlooGroup::~GlooGroup() {
  if (watch_) watch_->leave("");
}

std::unique_ptr<ProcessGroup::Work> GlooGroup::begin_sum(torch::Tensor values) {
  std::vector<torch::Tensor> tensors = {std::move(values)};
  return std::make_unique<GlooWork>(*this, gloo_->allreduce(tensors));
}

std::unique_ptr<ProcessGroup::Work> GlooGroup::begin_broadcast(torch::Tensor values) {
  std::vector<torch::Tensor> tensors = {std::move(values)};
  return std::make_unique<GlooWork>(*this, gloo_->broadcast(tensors));
}

void GlooGroup::check() {
  if (!watch_->lost().empty()) lose("");
}

void GlooGroup::lose(const std::string& reason) {
  const std::string lost = watch_->wait_for_lost();
  if (lost.empty()) fail("the connection to another process failed: {}; all processes end", reason);
  fail("{}; all processes end, and {} goes on from the last checkpoint", lost, setting_name("resume"));
}

void GlooGroup::abandon(const std::string& why) {
  watch_->leave(why);
  watch_.reset();
  // Operations that wait for a lost process would keep its destructor waiting.
  (void)gloo_.release();
}

}  // namespace

bool trains_with_processes() { return true; }

std::unique_ptr<ProcessGroup> join_processes(const Processes& processes) {
  return std::make_unique<GlooGroup>(processes);
}

}  // namespace lasnet
