// Messages that are worth saying once.
#pragma once

#include <mutex>
#include <set>
#include <string>

namespace lasnet {

/// Whether a text comes for the first time. From any thread.
class FirstTime {
 public:
  bool operator()(const std::string& text) {
    const std::lock_guard lock(mutex_);
    return seen_.insert(text).second;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> seen_;
};

}  // namespace lasnet
