// PyTorch checkpoints that must be refused.
#pragma once

#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet::test {

struct HostileCheckpoint {
  std::string name;
  std::string bytes;
  std::string message;  ///< part of the error
};

/// Opcodes of a list of lists, each holding the one before ten times: 10^60 values if they were ever copied.
std::string memo_bomb();

/// Each is a good checkpoint of `weights` but for one thing. Those that try to run something would create
/// the file `trace`.
std::vector<HostileCheckpoint> hostile_checkpoints(const Weights& weights, const std::string& trace);

}  // namespace lasnet::test
