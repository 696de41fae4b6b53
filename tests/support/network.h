// The description of an ordinary architecture with a granularity.
#pragma once

#include <string>

#include "lasnet/model.h"

namespace lasnet::test {

inline ModelSpec network(const std::string& name, const std::string& granularity) {
  ArchConfig arch;
  arch.name = name;
  arch.granularity = parse_granularity(granularity);
  return make_spec(arch);
}

}  // namespace lasnet::test
