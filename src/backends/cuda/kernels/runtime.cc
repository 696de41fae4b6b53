// runtime.h over the CUDA runtime API, but for launches (device_cuda.h).
#include "backends/cuda/kernels/runtime.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "backends/cuda/tiles.h"
#include "base/fail.h"
#include "base/math.h"

namespace lasnet {
namespace {

constexpr const char* kArchitectures = LASNET_CUDA_ARCHITECTURES;

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 100 / 10); }

}  // namespace

std::string cuda_unavailable_reason() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();  // a failed query does not spoil later calls
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "no NVIDIA driver is installed";
  if (error == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver knows CUDA {}, this build needs {}; update the driver",
                       version_text(driver), version_text(CUDART_VERSION));
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) return "no CUDA device is visible";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return "";
}

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  int count = 0;
  if (!cuda_unavailable_reason().empty() || cudaGetDeviceCount(&count) != cudaSuccess) return devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    devices.push_back({.name = properties.name,
                       .compute_capability = 10 * properties.major + properties.minor,
                       .multiprocessors = properties.multiProcessorCount,
                       .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return devices;
}

int cuda_code_architecture() {
  if (!cuda_unavailable_reason().empty()) return 0;
  const cuda::DeviceScope device;
  return cuda::code_architecture();
}

}  // namespace lasnet

namespace lasnet::cuda {
namespace {

constexpr double kMib = 1 << 20;
constexpr int kDevice = 0;  ///< which one that is, CUDA_VISIBLE_DEVICES says

void check(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  fail("cuda: {} failed: {} ({})", operation, cudaGetErrorString(error), cudaGetErrorName(error));
}

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for a property of the device");
  return value;
}

cudaStream_t native(void* stream) { return static_cast<cudaStream_t>(stream); }

size_t size_of(int64_t bytes) { return static_cast<size_t>(bytes); }

[[noreturn]] void fail_memory(int64_t bytes, const std::string& purpose) {
  cudaGetLastError();
  size_t available = 0, total = 0;
  cudaMemGetInfo(&available, &total);
  throw OutOfDeviceMemory(fmt::format(
      "{} needs {:.0f} MiB of device memory; {:.0f} of {:.0f} MiB are free. Use a smaller batch or the cpu "
      "backend",
      purpose, static_cast<double>(bytes) / kMib, static_cast<double>(available) / kMib,
      static_cast<double>(total) / kMib));
}

}  // namespace

DeviceScope::DeviceScope() {
  int current = 0;
  if (cudaGetDevice(&current) == cudaSuccess && current != kDevice) {
    check(cudaSetDevice(kDevice), "choosing the device");
    callers_ = current;
  }
  cudaGetLastError();  // without a driver there is no device to change
}
DeviceScope::~DeviceScope() {
  if (callers_ >= 0) cudaSetDevice(callers_);
}

int architecture_of(const void* kernel) {
  cudaFuncAttributes attributes;
  bool has_code = cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess;
  cudaGetLastError();  // a failed question does not spoil later calls
  return has_code ? attributes.ptxVersion : 0;
}

DeviceLimits require_device(Precision precision) {
  if (std::string reason = cuda_unavailable_reason(); !reason.empty()) {
    fail("the cuda backend cannot run: {}. Use the cpu backend", reason);
  }
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, kDevice), "asking for the device's properties");
  if (code_architecture() == 0) {
    fail(
        "{} has compute capability {}.{}, for which this build has no code ({}); build with "
        "-DLASNET_CUDA_ARCHITECTURES={}{} or use the cpu backend",
        device.name, device.major, device.minor, kArchitectures, device.major, device.minor);
  }
  if (!runs_precision(10 * device.major + device.minor, precision)) {
    fail("{} has compute capability {}.{}; {} needs 8.0 or newer. Use fp32 or the cpu backend", device.name,
         device.major, device.minor, to_string(precision));
  }
  constexpr double kKilohertz = 1e3;
  const double transfers = 2 * kKilohertz * device_attribute(cudaDevAttrMemoryClockRate);
  return {.multiprocessors = device.multiProcessorCount,
          .shared_bytes_per_block = static_cast<int64_t>(device.sharedMemPerBlockOptin),
          .name = device.name,
          .clock_hz = kKilohertz * device_attribute(cudaDevAttrClockRate),
          .memory_bytes_per_s = transfers * device_attribute(cudaDevAttrGlobalMemoryBusWidth) / 8,
          .runs_hopper = runs_hopper()};
}

DeviceBuffer::DeviceBuffer(int64_t bytes, const std::string& purpose) : bytes_(bytes) {
  void* memory = nullptr;
  cudaError_t error = cudaMalloc(&memory, size_of(bytes));
  if (error == cudaErrorMemoryAllocation) fail_memory(bytes, purpose);
  check(error, "allocating device memory");
  data_.reset(memory);
  Stream stream;
  stream.fill(memory, 0, bytes);
  stream.synchronize();
}
void DeviceBuffer::Free::operator()(void* p) const { cudaFree(p); }
void DeviceBuffer::upload(const void* from, int64_t bytes) {
  Stream stream;
  stream.copy_to_device(data(), from, bytes);
  stream.synchronize();
}

PinnedBuffer::PinnedBuffer(int64_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, size_of(bytes)), "allocating page-locked memory");
  data_.reset(memory);
}
void PinnedBuffer::Free::operator()(void* p) const { cudaFreeHost(p); }

void Graph::Destroy::operator()(void* p) const { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(p)); }

Stream::Stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  handle_.reset(stream);
  cudaEvent_t marker = nullptr;
  check(cudaEventCreateWithFlags(&marker, cudaEventDisableTiming), "creating an event");
  marker_.reset(marker);
  // Asked of the code: compiled for an older device, kernels do not wait for each other (device_cuda.h).
  constexpr int kWaits = 90;
  overlaps_kernels_ = code_architecture() >= kWaits;
}
void Stream::Destroy::operator()(void* p) const { cudaStreamDestroy(native(p)); }
void Stream::copy_to_device(void* to, const void* from, int64_t bytes) {
  follows_kernel_ = false;
  check(cudaMemcpyAsync(to, from, size_of(bytes), cudaMemcpyHostToDevice, native(handle())),
        "a copy to the device");
}
void Stream::copy_to_host(void* to, const void* from, int64_t bytes) {
  follows_kernel_ = false;
  check(cudaMemcpyAsync(to, from, size_of(bytes), cudaMemcpyDeviceToHost, native(handle())),
        "a copy to the host");
}
void Stream::fill(void* to, uint8_t value, int64_t bytes) {
  follows_kernel_ = false;
  check(cudaMemsetAsync(to, value, size_of(bytes), native(handle())), "filling memory");
}
void Stream::DestroyMarker::operator()(void* p) const { cudaEventDestroy(static_cast<cudaEvent_t>(p)); }
void Stream::wait_for(Stream& other) {
  follows_kernel_ = false;  // the other stream's next kernel may still overlap with its last
  auto marker = static_cast<cudaEvent_t>(other.marker_.get());
  check(cudaEventRecord(marker, native(other.handle())), "recording an event");
  check(cudaStreamWaitEvent(native(handle()), marker, 0), "waiting for a stream");
}
void Stream::synchronize() { check(cudaStreamSynchronize(native(handle())), "the work on the device"); }
void Stream::settle() noexcept {
  cudaStreamSynchronize(native(handle()));
  cudaGetLastError();
}

void Stream::begin_capture() {
  follows_kernel_ = false;
  // Other threads' sessions may allocate meanwhile.
  check(cudaStreamBeginCapture(native(handle()), cudaStreamCaptureModeThreadLocal),
        "starting to record a graph");
}
Graph Stream::end_capture() {
  follows_kernel_ = false;
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(native(handle()), &recorded), "recording a graph");
  cudaGraphExec_t executable = nullptr;
  cudaError_t error = cudaGraphInstantiate(&executable, recorded, 0);
  cudaGraphDestroy(recorded);
  check(error, "preparing a graph");
  Graph graph;
  graph.handle_.reset(executable);
  return graph;
}
void Stream::abandon_capture() noexcept {
  cudaGraph_t recorded = nullptr;
  cudaStreamEndCapture(native(handle()), &recorded);
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaGetLastError();
}
void Stream::run(const Graph& graph) {
  follows_kernel_ = false;
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph.handle_.get()), native(handle())),
        "starting a graph");
}

Event::Event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "creating an event");
  handle_.reset(event);
}
void Event::Destroy::operator()(void* p) const { cudaEventDestroy(static_cast<cudaEvent_t>(p)); }
void Event::record(Stream& stream) {
  stream.note_other();
  check(cudaEventRecord(static_cast<cudaEvent_t>(handle_.get()), native(stream.handle())),
        "recording an event");
}
double Event::seconds_between(const Event& begin, const Event& end) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin.handle_.get()),
                             static_cast<cudaEvent_t>(end.handle_.get())),
        "reading a time");
  return 1e-3 * milliseconds;
}

void allow_shared_memory(const void* kernel, int64_t bytes) {
  constexpr int64_t kWithoutAsking = 48 << 10;
  if (bytes <= kWithoutAsking) return;
  // All there is: another thread may be about to launch the kernel with more than this one does.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
        "asking for shared memory");
}

void check_launch(int error) { check(static_cast<cudaError_t>(error), "launching a kernel"); }

int64_t persistent_blocks(const void* kernel, int threads, int64_t shared_bytes, int64_t work) {
  allow_shared_memory(kernel, shared_bytes);
  int multiprocessors = device_attribute(cudaDevAttrMultiProcessorCount), resident = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, size_of(shared_bytes)),
        "asking for a kernel's occupancy");
  if (resident == 0) {
    fail("a kernel's block of {} threads with {} bytes of shared memory does not fit the device", threads,
         shared_bytes);
  }
  return std::min(work, int64_t{multiprocessors} * resident);
}

PersistentShape persistent_shape(const void* kernel, const TeamShape& team, int64_t work) {
  const DeviceLimits device{device_attribute(cudaDevAttrMultiProcessorCount),
                            device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
  int teams = teams_of_block(device, team, work);
  int64_t blocks =
      persistent_blocks(kernel, teams * team.threads, teams * team.shared_bytes, ceil_div(work, teams));
  return {blocks, teams};
}

}  // namespace lasnet::cuda
