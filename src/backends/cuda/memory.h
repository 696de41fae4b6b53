// Device memory of one (batch, height, width): maps, lists, and what travels between host and device. One
// plan of it is laid out twice, first over nothing to learn its size, then over memory of that size.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "backends/cuda/executable.h"
#include "backends/cuda/program.h"
#include "base/math.h"

namespace lasnet {

/// Deals out aligned places of a region; without memory, only counts.
class CudaArena {
 public:
  explicit CudaArena(void* base = nullptr) : base_(static_cast<unsigned char*>(base)) {}

  template <class T>
  T* take(int64_t count) {
    constexpr int64_t kAlignment = 256;
    int64_t begin = size_;
    size_ += round_up(count * static_cast<int64_t>(sizeof(T)), kAlignment);
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + begin);
  }
  int64_t size() const { return size_; }

 private:
  unsigned char* base_;
  int64_t size_ = 0;
};

/// A region of device memory and its twin on the host.
struct CudaMirror {
  cuda::DeviceBuffer device;
  cuda::PinnedBuffer host;

  explicit CudaMirror(int64_t bytes = 0);
  /// The host's twin of a place on the device.
  template <class T>
  T* on_host(const T* place) const {
    auto offset = reinterpret_cast<const unsigned char*>(place) - static_cast<unsigned char*>(device.data());
    return reinterpret_cast<T*>(static_cast<unsigned char*>(host.data()) + offset);
  }
};

/// Lists of blocks with equal maps share memory, as blocks run one after the other.
class CudaLists {
 public:
  cuda::ListTarget& operator[](cuda::ListKind kind) { return lists_[static_cast<size_t>(kind)]; }
  const cuda::ListTarget& operator[](cuda::ListKind kind) const { return lists_[static_cast<size_t>(kind)]; }

 private:
  cuda::ListTarget lists_[cuda::kMaxTargets];
};

struct CudaBlockMemory {
  cuda::DeviceMap x, y;
  std::vector<cuda::DeviceMap> inner;  ///< outputs of all convolutions but the last
  cuda::ListGeometry geometry;
  CudaLists everything, current;
  // From the host.
  cuda::DecisionRule* rule = nullptr;
  uint8_t* forced = nullptr;  ///< decisions, where the rule says so
  // To the host.
  float* differences = nullptr;
  uint8_t* patches = nullptr;
  int32_t *dilated_counts = nullptr, *active_counts = nullptr;  ///< per chunk
  // Squeeze-and-Excitation.
  float *pooled = nullptr, *scale = nullptr;
  // Schedules that are not the default; of all blocks.
  void* gathered = nullptr;            ///< patches of the middle map, halo included
  int32_t* gathered_pixels = nullptr;  ///< into it
  void* body = nullptr;                ///< the last convolution's output
};

/// What a recorded network depends on beside its memory.
struct CudaMode {
  bool dense = false;  ///< without maskers, every pixel
  MapLayout feature_layout = MapLayout::nchw;
  std::map<size_t, float*> features = {};  ///< by how many blocks come before a map: where it is copied to

  auto operator<=>(const CudaMode&) const = default;
};

/// Places of everything.
struct CudaLayout {
  int images = 0;
  MapSize input_size;
  float* input = nullptr;  ///< [images][3][height][width]
  void* image = nullptr;   ///< bordered, NHWC
  int image_pitch = 0, image_row_pixels = 0;
  cuda::DeviceMap stem, trunk;
  cuda::DeviceList stem_pixels;
  int32_t* image_count = nullptr;  ///< [1]
  std::vector<CudaBlockMemory> blocks;
  float* features = nullptr;
  float* logits = nullptr;
  int features_pitch = 0, logits_pitch = 0;
  unsigned long long* not_finite = nullptr;  ///< one per checked layer
  int checked_layers = 0;
};

class CudaMemory {
 public:
  /// Throws Error if device memory is short, saying how much is needed.
  CudaMemory(const CudaExecutable& executable, const NetworkGeometry& geometry, int64_t images);

  /// What runs, with masks or on every pixel.
  const cuda::NetworkProgram& program(bool masked) const { return masked ? sparse_program_ : dense_program_; }
  const CudaLayout& layout() const { return layout_; }
  const CudaMirror& request() const { return request_; }
  const CudaMirror& report() const { return report_; }

  /// Where the map that so many blocks come before is copied to, which has so many values. Throws
  /// cuda::OutOfDeviceMemory.
  float* feature(size_t blocks, int64_t floats);

  /// Recorded networks; made when first wanted.
  std::map<CudaMode, cuda::Graph> graphs;

 private:
  struct Arenas {
    CudaArena work, request, report;
  };
  friend class CudaLayoutBuilder;

  cuda::NetworkProgram sparse_program_, dense_program_;
  cuda::DeviceBuffer work_;
  CudaMirror request_, report_;
  std::map<size_t, cuda::DeviceBuffer> features_;  ///< made when first wanted
  CudaLayout layout_;
};

}  // namespace lasnet
