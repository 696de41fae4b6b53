// Readable names for the instances of a parameterised suite.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "lasnet/engine.h"

namespace lasnet {

inline void PrintTo(Isa isa, std::ostream* out) { *out << to_string(isa); }

namespace test {

/// Last argument of INSTANTIATE_TEST_SUITE_P: what PrintTo writes of the parameter, with _ for all but
/// letters and digits.
struct ParamName {
  template <typename T>
  std::string operator()(const testing::TestParamInfo<T>& info) const {
    std::string name = testing::PrintToString(info.param);
    for (char& c : name) {
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    }
    return name;
  }
};

}  // namespace test
}  // namespace lasnet
