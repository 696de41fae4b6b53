// Zero-initialised float storage, aligned for vectors and, when large, for huge pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace lasnet {

/// Owns `size` floats, zero at construction. Move-only. Throws Error when memory is exhausted.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t size);
  /// Has the size without the memory: to learn how much a plan needs.
  static AlignedBuffer without_memory(int64_t size);

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float[], Free> data_;
  int64_t size_ = 0;
};

}  // namespace lasnet
