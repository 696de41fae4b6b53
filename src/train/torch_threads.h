// libtorch's thread count is global; this puts it back at the end of a scope.
#pragma once

#include <torch/torch.h>

namespace lasnet {

class TorchThreads {
 public:
  explicit TorchThreads(int threads) : before_(torch::get_num_threads()) { torch::set_num_threads(threads); }
  ~TorchThreads() { torch::set_num_threads(before_); }
  TorchThreads(const TorchThreads&) = delete;
  TorchThreads& operator=(const TorchThreads&) = delete;

 private:
  int before_;
};

}  // namespace lasnet
