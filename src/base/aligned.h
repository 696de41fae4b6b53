// Zero-initialised storage, aligned for vectors and, when large, for huge pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace lasnet {

/// Owns `size` values of T, zero at construction. Move-only. Throws Error when memory is exhausted.
template <typename T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(int64_t size);
  /// Has the size without the memory: to learn how much a plan needs.
  static AlignedArray without_memory(int64_t size);
  /// Bytes that an array of `size` values takes: large ones are whole huge pages.
  static int64_t bytes_of(int64_t size);

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* p) const;
  };
  std::unique_ptr<T[], Free> data_;
  int64_t size_ = 0;
};

extern template class AlignedArray<float>;
extern template class AlignedArray<int32_t>;
extern template class AlignedArray<uint32_t>;
extern template class AlignedArray<uint8_t>;

using AlignedBuffer = AlignedArray<float>;

}  // namespace lasnet
