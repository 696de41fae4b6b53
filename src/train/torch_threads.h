// libtorch's thread count is global; this puts it back at the end of a scope.
#pragma once

#include <ATen/Parallel.h>

namespace lasnet {

class TorchThreads {
 public:
  explicit TorchThreads(int threads) : before_(at::get_num_threads()) { at::set_num_threads(threads); }
  ~TorchThreads() { at::set_num_threads(before_); }
  TorchThreads(const TorchThreads&) = delete;
  TorchThreads& operator=(const TorchThreads&) = delete;

 private:
  int before_;
};

}  // namespace lasnet
