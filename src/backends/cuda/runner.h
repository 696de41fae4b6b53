// Runs a CudaExecutable: the whole network as one graph, whatever the masks; the host sends inputs and
// receives logits and the trace's facts.
#pragma once

#include <deque>
#include <memory>

#include "backends/cuda/memory.h"

namespace lasnet {

class CudaRunner final : public Runner {
 public:
  explicit CudaRunner(std::shared_ptr<const CudaExecutable> executable);

  void run(const RunRequest& request, Result& result) override;

 private:
  struct Entry {
    int64_t images;
    MapSize size;
    std::unique_ptr<CudaMemory> memory;
  };

  CudaMemory& memory_for(const RunRequest& request);
  /// What `make` returns, for which kept sizes are given up, all but the newest `kept`, if device memory is
  /// short.
  template <class Make>
  auto with_room(size_t kept, const Make& make);
  /// `memory` is the newest.
  CudaMode mode_of(const RunRequest& request, CudaMemory& memory);
  void run_on(CudaMemory& memory, const RunRequest& request, Result& result);
  void send_request(const RunRequest& request, CudaMemory& memory);
  /// The recorded network, recorded now if it was not.
  const cuda::Graph& graph_for(const CudaMode& mode, CudaMemory& memory);
  void copy_features(const RunRequest& request, const CudaMode& mode);
  void read_report(const RunRequest& request, const CudaMemory& memory, Result& result);

  std::shared_ptr<const CudaExecutable> executable_;
  cuda::Stream stream_, side_;
  cuda::Event begin_, end_;
  std::vector<cuda::Event> block_events_;    ///< before each block and after the last
  std::vector<cuda::Event> before_masking_;  ///< before masker and lists of each block ...
  std::vector<cuda::Event> after_masking_;   ///< ... and after them
  std::deque<Entry> memories_;               ///< most recently used first
};

}  // namespace lasnet
