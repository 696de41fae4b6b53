// A network and its input, for tests that go over several.
#pragma once

#include <cstdint>
#include <ostream>

#include "lasnet/model.h"

namespace lasnet {

struct NetworkCase {
  const char* architecture;
  const char* granularity;
  MapSize size;
  int64_t images;
  int threads;
};

inline void PrintTo(const NetworkCase& c, std::ostream* out) {
  *out << c.architecture << " S " << c.granularity << ", " << c.images << " of " << c.size.height << "x"
       << c.size.width << ", " << c.threads << " threads";
}

}  // namespace lasnet
