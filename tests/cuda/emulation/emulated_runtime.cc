// kernels/cuda/runtime.h over memory of the host: streams run at once or record, graphs replay what was
// recorded.
#include <chrono>
#include <cstdlib>

#include "core/fail.h"
#include "cuda_emulation.h"

namespace lasnet {

std::vector<CudaDevice> cuda_devices() {
  return {
      {.name = "emulated", .compute_capability = 86, .multiprocessors = 3, .memory_bytes = int64_t{4} << 30}};
}

std::string cuda_unavailable_reason() { return ""; }

}  // namespace lasnet

namespace lasnet::cuda {
namespace {

struct EmulatedStream {
  EmulatedStream* waited_for = nullptr;
  bool capturing = false;
  std::vector<std::function<void()>> recorded;
};

using EmulatedGraph = std::vector<std::function<void()>>;
using Clock = std::chrono::steady_clock;

EmulatedStream& of(void* handle) { return *static_cast<EmulatedStream*>(handle); }

}  // namespace

namespace emulation {

void enqueue(Stream& stream, std::function<void()> work) {
  EmulatedStream* origin = &of(stream.handle());
  if (origin->waited_for != nullptr && origin->waited_for->capturing) origin = origin->waited_for;
  EmulatedStream& emulated = *origin;
  if (emulated.capturing) {
    emulated.recorded.push_back(std::move(work));
  } else {
    work();
  }
}

}  // namespace emulation

DeviceLimits require_device(Precision) { return {emulation::settings().multiprocessors, 99 << 10}; }

DeviceBuffer::DeviceBuffer(int64_t bytes, const std::string&)
    : data_(std::aligned_alloc(256, (bytes + 255) / 256 * 256)), bytes_(bytes) {
  std::memset(data_.get(), 0, bytes);
}
void DeviceBuffer::Free::operator()(void* p) const { std::free(p); }
void DeviceBuffer::upload(const void* from, int64_t bytes) { std::memcpy(data(), from, bytes); }

PinnedBuffer::PinnedBuffer(int64_t bytes) : data_(std::aligned_alloc(256, (bytes + 255) / 256 * 256)) {}
void PinnedBuffer::Free::operator()(void* p) const { std::free(p); }

void Graph::Destroy::operator()(void* p) const { delete static_cast<EmulatedGraph*>(p); }

Stream::Stream() : handle_(new EmulatedStream) {}
void Stream::Destroy::operator()(void* p) const { delete static_cast<EmulatedStream*>(p); }
void Stream::copy_to_device(void* to, const void* from, int64_t bytes) {
  emulation::enqueue(*this, [=] { std::memcpy(to, from, bytes); });
}
void Stream::copy_to_host(void* to, const void* from, int64_t bytes) {
  emulation::enqueue(*this, [=] { std::memcpy(to, from, bytes); });
}
void Stream::fill(void* to, uint8_t value, int64_t bytes) {
  emulation::enqueue(*this, [=] { std::memset(to, value, bytes); });
}
void Stream::DestroyMarker::operator()(void*) const {}
void Stream::wait_for(Stream& other) {
  if (!of(handle()).capturing) of(handle()).waited_for = &of(other.handle());
}
void Stream::synchronize() {}
void Stream::begin_capture() { of(handle()).capturing = true; }
Graph Stream::end_capture() {
  EmulatedStream& stream = of(handle());
  stream.capturing = false;
  Graph graph;
  graph.handle_.reset(new EmulatedGraph(std::move(stream.recorded)));
  stream.recorded.clear();
  return graph;
}
void Stream::abandon_capture() noexcept {
  of(handle()).capturing = false;
  of(handle()).recorded.clear();
}
void Stream::run(const Graph& graph) {
  for (const auto& work : *static_cast<EmulatedGraph*>(graph.handle_.get())) work();
}

Event::Event() : handle_(new Clock::time_point) {}
void Event::Destroy::operator()(void* p) const { delete static_cast<Clock::time_point*>(p); }
void Event::record(Stream& stream) {
  void* time = handle_.get();
  emulation::enqueue(stream, [=] { *static_cast<Clock::time_point*>(time) = Clock::now(); });
}
double Event::seconds_between(const Event& begin, const Event& end) {
  return std::chrono::duration<double>(*static_cast<Clock::time_point*>(end.handle_.get()) -
                                       *static_cast<Clock::time_point*>(begin.handle_.get()))
      .count();
}

void allow_shared_memory(const void*, int64_t) {}
void check_launch() {}
int64_t persistent_blocks(const void*, int, int64_t, int64_t work) {
  return std::min<int64_t>(work, emulation::settings().multiprocessors);
}

PersistentShape persistent_shape(const void*, const TeamShape& team, int64_t work) {
  constexpr int64_t kShared = 99 << 10;
  int64_t multiprocessors = emulation::settings().multiprocessors;
  int64_t most = std::min<int64_t>(team.most, kShared / team.shared_bytes);
  int64_t teams = std::min(most, (work + multiprocessors - 1) / multiprocessors);
  return {std::min((work + teams - 1) / teams, multiprocessors), static_cast<int>(teams)};
}

}  // namespace lasnet::cuda
