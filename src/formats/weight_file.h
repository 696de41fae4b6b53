// A file of named tensors, whatever its format: described on opening, read tensor by tensor.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lasnet/model.h"

namespace lasnet {

struct StoredTensor {
  Shape shape;
  std::string dtype;      ///< the file's own word, e.g. "BF16" or "bfloat16"
  bool is_float = false;  ///< f16, bf16, f32 or f64
  std::string obstacle =
      {};  ///< why it cannot be read, after its name: "has the property 'x'"; usually empty
};

class WeightFile {
 public:
  virtual ~WeightFile() = default;

  virtual std::string origin() const = 0;
  /// "safetensors" or "pytorch"
  virtual std::string format() const = 0;
  virtual const std::map<std::string, StoredTensor>& tensors() const = 0;
  /// The JSON text of formats/metadata.h; nullopt where the file has none.
  virtual std::optional<std::string> metadata() const = 0;
  /// Keys to the state dict whose tensors these are, and to others, of a format that has such.
  virtual std::string state_dict() const { return ""; }
  virtual std::vector<std::string> other_state_dicts() const { return {}; }
  /// What was taken off all names.
  virtual std::string prefix() const { return ""; }
  /// A tensor of tensors(), converted to float32. Throws Error if it is not of a floating-point type, or its
  /// bytes are damaged.
  virtual Tensor read(const std::string& name) = 0;
  /// A tensor of int8, of a format that has such. Throws Error on any other.
  virtual Array<int8_t> read_int8(const std::string& name);
};

/// Opens a .safetensors file or a PyTorch checkpoint, told apart by their content, under plain names (see
/// tensor_names.h). `state_dict` as of load_model. Throws Error saying what the file is otherwise (where that
/// can be known, e.g. a checkpoint from before PyTorch 1.6), and what to do.
std::unique_ptr<WeightFile> open_weight_file(const std::string& path, const std::string& state_dict = "");

/// What to do with tensors of a file that a network does not know.
enum class UnknownTensors { refuse, ignore };

/// The tensors that `spec` needs: those of `given`, the others from `file`. Names and shapes are checked by
/// check_weights before any value is read, so that nothing larger than the network is allocated. Maskers of
/// blocks that are static in `spec`, and unknown integer tensors, are always ignored.
Weights read_weights(WeightFile& file, const ModelSpec& spec, Weights given, UnknownTensors unknown);

}  // namespace lasnet
