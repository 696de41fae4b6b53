// PyTorch checkpoints (.pth, .pt): zip archives of torch.save, read without Python, libtorch, or executing
// anything.
//
//   <root>/data.pkl      a pickle of the saved value; tensors refer to storages by key
//   <root>/data/<key>    the bytes of one storage
//   <root>/byteorder     "little" (absent before PyTorch 2.1)
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/pytorch/pickle_value.h"
#include "formats/pytorch/zip_archive.h"
#include "formats/weight_file.h"

namespace lasnet {

/// The tensors of a checkpoint's state dict: see find_state_dict. Everything else, such as an optimiser's
/// state, is never read.
class PyTorchFile : public WeightFile {
 public:
  /// Reads the archive's directory and the pickle, not the tensors. Throws Error for anything else than a
  /// checkpoint of plain weights (see unpickler.h and zip_archive.h), or storages of another size than the
  /// pickle says.
  explicit PyTorchFile(ByteSource source, const std::string& state_dict = "");

  std::string origin() const override { return archive_.origin(); }
  std::string format() const override { return "pytorch"; }
  const std::map<std::string, StoredTensor>& tensors() const override { return tensors_; }
  std::optional<std::string> metadata() const override { return std::nullopt; }
  std::string state_dict() const override { return state_dict_; }
  std::vector<std::string> other_state_dicts() const override { return other_state_dicts_; }
  Tensor read(const std::string& name) override;

 private:
  void find_root();
  void check_byte_order();
  void check_storage(const std::string& name, const TensorRef& tensor) const;
  std::string storage_entry(const TensorRef& tensor) const { return root_ + "data/" + tensor.key; }

  ZipArchive archive_;
  std::string root_;  ///< with the slash
  std::string state_dict_;
  std::vector<std::string> other_state_dicts_;
  std::map<std::string, TensorRef> views_;
  std::map<std::string, StoredTensor> tensors_;
};

/// Float32 values of a tensor. `bytes` begin at its first element (`offset`) and hold `view_bytes(tensor)`.
Tensor gather(const TensorRef& tensor, std::span<const uint8_t> bytes);
/// Bytes from the tensor's first element to the end of its last; 0 for an empty one.
uint64_t view_bytes(const TensorRef& tensor);

}  // namespace lasnet
