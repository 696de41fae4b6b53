// backends/cuda/kernels/runtime.h over memory of the host: streams run at once or record, graphs replay what
// was recorded.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "cuda_emulation.h"
#include "races.h"

namespace lasnet {

std::vector<CudaDevice> cuda_devices() {
  return {
      {.name = "emulated", .compute_capability = 86, .multiprocessors = 3, .memory_bytes = int64_t{4} << 30}};
}

std::string cuda_unavailable_reason() { return ""; }

int cuda_code_architecture() { return 86; }

}  // namespace lasnet

namespace lasnet::cuda {
namespace {

struct EmulatedStream;

/// A step of a graph: a kernel, or other work; neither where streams meet.
struct Step {
  const EmulatedStream* stream = nullptr;
  std::optional<emulation::Grid> grid;
  bool overlaps = false;  ///< the kernel may start before the one before it in its stream has ended
  std::function<void()> work;
  int segment = 0;  ///< between which meetings of streams it lies
};

/// Between two meetings of streams the steps of one may come before those of the other or after them: replays
/// do one and the other in turn.
struct EmulatedGraph {
  std::vector<Step> steps, other_order;
};

struct EmulatedStream {
  EmulatedStream* waited_for = nullptr;
  bool capturing = false;
  std::vector<Step> recorded;
};

bool is_meeting(const Step& step) { return !step.grid && !step.work; }

EmulatedGraph make_graph(std::vector<Step> recorded) {
  EmulatedGraph graph;
  int segment = 0;
  for (auto begin = recorded.begin(); begin != recorded.end(); ++segment) {
    auto end = std::find_if(begin, recorded.end(), is_meeting);
    std::for_each(begin, end, [&](Step& step) { step.segment = segment; });
    graph.steps.insert(graph.steps.end(), begin, end);
    if (begin != end) {
      const EmulatedStream* first = begin->stream;
      std::stable_partition(begin, end, [&](const Step& step) { return step.stream != first; });
      graph.other_order.insert(graph.other_order.end(), begin, end);
    }
    begin = end == recorded.end() ? end : end + 1;
  }
  return graph;
}

void replay(const std::vector<Step>& steps) {
  std::vector<emulation::RaceDetector::Place> places;
  for (const Step& step : steps) places.push_back({step.segment, step.stream});
  const uint32_t first = emulation::races().number(std::move(places));
  // Where each stream's last run of kernels began that may all have started, as far as they do not wait.
  std::map<const EmulatedStream*, uint32_t> starts;
  for (size_t i = 0; i < steps.size(); ++i) {
    const uint32_t number = first + static_cast<uint32_t>(i);
    if (!steps[i].overlaps) starts[steps[i].stream] = number;
    if (i + 1 < steps.size() && steps[i].grid && steps[i + 1].overlaps) {
      emulation::start_early(*steps[i + 1].grid, number + 1, starts[steps[i + 1].stream]);
    }
    if (steps[i].grid) {
      emulation::run_grid(*steps[i].grid, number);
    } else {
      steps[i].work();
    }
  }
}

using Clock = std::chrono::steady_clock;

/// Of sm_86, but for the multiprocessors.
DeviceLimits limits() {
  const emulation::Settings& device = emulation::settings();
  return {device.multiprocessors, (device.hopper ? 227 : 99) << 10, "emulated", 1e9, 1e12, device.hopper};
}

/// Aligned as on a device, and of exactly this size, for address sanitizers.
void* allocate(int64_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, static_cast<size_t>(bytes)) != 0) throw std::bad_alloc();
  return memory;
}

/// What device buffers take together.
class DeviceMemory {
 public:
  void* take(int64_t bytes, const std::string& purpose) {
    const std::lock_guard lock(mutex_);
    if (taken_ + bytes > emulation::settings().memory_bytes) throw OutOfDeviceMemory(purpose);
    void* memory = allocate(bytes);
    taken_ += sizes_[memory] = bytes;
    return memory;
  }
  void give_back(void* memory) {
    const std::lock_guard lock(mutex_);
    taken_ -= sizes_.extract(memory).mapped();
    std::free(memory);
  }
  int64_t taken() {
    const std::lock_guard lock(mutex_);
    return taken_;
  }
  emulation::Place place_of(const void* address) {
    const std::lock_guard lock(mutex_);
    auto after = sizes_.upper_bound(const_cast<void*>(address));
    if (after == sizes_.begin()) return {};
    const auto& [memory, bytes] = *std::prev(after);
    const int64_t offset = static_cast<const char*>(address) - static_cast<const char*>(memory);
    return offset < bytes ? emulation::Place{memory, offset} : emulation::Place{};
  }

 private:
  std::mutex mutex_;
  std::map<void*, int64_t> sizes_;
  int64_t taken_ = 0;
};

DeviceMemory& device_memory() {
  static DeviceMemory memory;
  return memory;
}

EmulatedStream& of(void* handle) { return *static_cast<EmulatedStream*>(handle); }

}  // namespace

namespace emulation {
namespace {

/// What the stream's work is recorded to, itself or the stream that it has joined; null if it runs at once.
std::vector<Step>* recording_of(Stream& stream) {
  EmulatedStream* origin = &of(stream.handle());
  if (origin->waited_for != nullptr && origin->waited_for->capturing) origin = origin->waited_for;
  return origin->capturing ? &origin->recorded : nullptr;
}

}  // namespace

int64_t memory_taken() { return device_memory().taken(); }
Place place_of(const void* address) { return device_memory().place_of(address); }

void note_launch(Launch launch) {
  if (settings().launches != nullptr) settings().launches->push_back(std::move(launch));
}

void enqueue(Stream& stream, std::function<void()> work) {
  stream.note_other();
  if (auto* steps = recording_of(stream)) {
    steps->push_back({.stream = &of(stream.handle()), .grid = std::nullopt, .work = std::move(work)});
  } else {
    work();
  }
}

void enqueue(Stream& stream, Grid grid) {
  if (auto* steps = recording_of(stream)) {
    steps->push_back({.stream = &of(stream.handle()),
                      .grid = std::move(grid),
                      .overlaps = stream.follows_kernel(),
                      .work = {}});
  } else if (settings().runs_kernels) {
    run_grid(grid, races().number({RaceDetector::Place()}));
  }
  stream.note_kernel();
}

}  // namespace emulation

DeviceScope::DeviceScope() = default;
DeviceScope::~DeviceScope() = default;
DeviceLimits require_device(Precision) { return limits(); }

DeviceBuffer::DeviceBuffer(int64_t bytes, const std::string& purpose)
    : data_(device_memory().take(bytes, purpose)), bytes_(bytes) {
  std::memset(data_.get(), 0, bytes);
}
void DeviceBuffer::Free::operator()(void* p) const { device_memory().give_back(p); }
void DeviceBuffer::upload(const void* from, int64_t bytes) { std::memcpy(data(), from, bytes); }

PinnedBuffer::PinnedBuffer(int64_t bytes) : data_(allocate(bytes)) {}
void PinnedBuffer::Free::operator()(void* p) const { std::free(p); }

void Graph::Destroy::operator()(void* p) const { delete static_cast<EmulatedGraph*>(p); }

Stream::Stream() : handle_(new EmulatedStream), overlaps_kernels_(true) {}
void Stream::Destroy::operator()(void* p) const { delete static_cast<EmulatedStream*>(p); }
void Stream::copy_to_device(void* to, const void* from, int64_t bytes) {
  emulation::enqueue(*this, [=] { std::memcpy(to, from, bytes); });
}
void Stream::copy_to_host(void* to, const void* from, int64_t bytes) {
  emulation::enqueue(*this, [=] { std::memcpy(to, from, bytes); });
}
void Stream::fill(void* to, uint8_t value, int64_t bytes) {
  emulation::Launch launch{"fill", handle()};
  const emulation::Fill fill{to, bytes, value};
  launch.arguments.resize(sizeof fill);
  std::memcpy(launch.arguments.data(), &fill, sizeof fill);
  emulation::note_launch(std::move(launch));
  emulation::enqueue(*this, [=] { std::memset(to, value, bytes); });
}
void Stream::DestroyMarker::operator()(void*) const {}
void Stream::wait_for(Stream& other) {
  note_other();
  emulation::note_launch({"wait", handle()});
  if (!of(handle()).capturing) of(handle()).waited_for = &of(other.handle());
  if (auto* steps = emulation::recording_of(*this)) steps->push_back({});
}
void Stream::synchronize() {}
void Stream::settle() noexcept {}
void Stream::begin_capture() {
  note_other();
  of(handle()).capturing = true;
}
Graph Stream::end_capture() {
  EmulatedStream& stream = of(handle());
  stream.capturing = false;
  Graph graph;
  graph.handle_.reset(new EmulatedGraph(make_graph(std::exchange(stream.recorded, {}))));
  return graph;
}
void Stream::abandon_capture() noexcept {
  of(handle()).capturing = false;
  of(handle()).recorded.clear();
}
void Stream::run(const Graph& graph) {
  if (!emulation::settings().runs_kernels) return;
  static thread_local bool turned = true;
  turned = !turned;
  const auto& recorded = *static_cast<EmulatedGraph*>(graph.handle_.get());
  replay(turned ? recorded.other_order : recorded.steps);
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
int64_t persistent_blocks(const void*, int, int64_t, int64_t work) {
  return std::min<int64_t>(work, emulation::settings().multiprocessors);
}

PersistentShape persistent_shape(const void*, const TeamShape& team, int64_t work) {
  const DeviceLimits device = limits();
  int teams = teams_of_block(device, team, work);
  return {std::min<int64_t>((work + teams - 1) / teams, device.multiprocessors), teams};
}

}  // namespace lasnet::cuda
