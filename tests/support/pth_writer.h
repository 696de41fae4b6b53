// Writes PyTorch checkpoints byte by byte: right ones, and ones that are wrong in one place.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lasnet/model.h"

namespace lasnet::test {

/// How a tensor refers to its storage. The defaults are those of a contiguous one.
struct PickledTensor {
  std::string key = {};
  Shape shape = {};
  std::optional<std::vector<int64_t>> strides = {};
  int64_t offset = 0;
  std::optional<int64_t> count = {};  ///< elements of the storage
  std::string storage = "FloatStorage";
  std::string more = {};  ///< opcodes of further arguments
};

/// The opcodes of a string, and of {key: True}.
std::string opcodes_of(const std::string& text);
std::string opcodes_of_property(const std::string& key);

/// A pickle, opcode by opcode.
class Pickle {
 public:
  explicit Pickle(int protocol = 2) : bytes_{'\x80', static_cast<char>(protocol)} {}

  Pickle& raw(const std::string& bytes);
  Pickle& global(const std::string& module, const std::string& name);
  Pickle& text(const std::string& value);
  Pickle& integer(int64_t value);
  Pickle& integers(const std::vector<int64_t>& values);  ///< a tuple
  Pickle& tensor(const PickledTensor& tensor);
  /// name: tensor pairs of contiguous float32 tensors whose storages are named by their place in the map.
  Pickle& entries(const Weights& weights, const std::string& prefix = "");

  /// With STOP.
  std::string done() const { return bytes_ + "."; }

 private:
  std::string bytes_;
};

/// One entry of an archive. What is set replaces the true value in both headers, or in one.
struct ZipItem {
  std::string name;
  std::string bytes;
  uint16_t method = 0;
  uint16_t flags = 0;
  std::optional<uint32_t> crc = {};
  std::optional<uint32_t> size = {};
  std::optional<uint32_t> local_size = {};
  std::optional<uint64_t> wide_size = {};  ///< in a zip64 extra field of the directory
  std::optional<std::string> local_name = {};
};

struct ZipEnd {
  std::optional<uint16_t> entries = {};
  std::optional<uint32_t> directory_begin = {};
  bool zip64 = false;  ///< the records that torch.save writes
};

std::string make_zip(const std::vector<ZipItem>& items, const ZipEnd& end = {});

/// data.pkl and the storages of `weights`, as `entries` names them.
std::vector<ZipItem> checkpoint_items(const std::string& pickle, const Weights& weights);

/// A checkpoint with several state dicts, by their keys.
std::string make_checkpoint(const std::vector<std::pair<std::string, Weights>>& state_dicts);

/// A pickle of the state dict alone.
std::string state_dict_pickle(const Weights& weights);

}  // namespace lasnet::test
