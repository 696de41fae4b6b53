// Which of the processes that train together is lost: each one shows now and then that it lives.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "base/stopwatch.h"

namespace lasnet {

class PeerWatch {
 public:
  /// `names` are those of all processes, by rank, for messages. The store is used by this object alone.
  PeerWatch(c10::intrusive_ptr<c10d::Store> store, int rank, std::vector<std::string> names);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  /// Which process is lost and why, or empty.
  std::string lost() const;
  /// The same, waited for as long as it can take to find out.
  std::string wait_for_lost() const;
  /// Tells the others that this process ends. `why` is empty if its work is done. Rank 0, which has the
  /// store, then waits a moment until they have read it.
  void leave(const std::string& why);

 private:
  struct Peer {
    int64_t beats = 0;
    Stopwatch since_beat;
  };

  void run();
  void look();
  void look_at(int peer);
  void set_lost(const std::string& text);
  bool has(const std::string& key);

  c10::intrusive_ptr<c10d::Store> store_;
  int rank_;
  std::vector<std::string> names_;
  std::vector<Peer> peers_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string lost_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lasnet
