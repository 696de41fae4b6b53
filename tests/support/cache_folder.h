// Where this user's calibrations are looked for.
#pragma once

#include <cstdlib>
#include <string>

#include "support/temporary_dir.h"

namespace lasnet::test {

/// An empty cache folder of the user for the time of a test, programs that it starts included.
class CacheFolder {
 public:
  CacheFolder() : before_(std::getenv("XDG_CACHE_HOME") ? std::getenv("XDG_CACHE_HOME") : "") {
    ::setenv("XDG_CACHE_HOME", dir_.path().c_str(), 1);
  }
  ~CacheFolder() { ::setenv("XDG_CACHE_HOME", before_.c_str(), 1); }
  CacheFolder(const CacheFolder&) = delete;
  CacheFolder& operator=(const CacheFolder&) = delete;

 private:
  TemporaryDir dir_;
  std::string before_;
};

}  // namespace lasnet::test
