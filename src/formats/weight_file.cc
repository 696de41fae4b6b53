#include "formats/weight_file.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "base/file.h"
#include "base/text.h"
#include "formats/pytorch/python_advice.h"
#include "formats/pytorch/pytorch_file.h"
#include "formats/safetensors.h"
#include "formats/tensor_names.h"

namespace lasnet {
namespace {

using namespace std::string_view_literals;

constexpr auto kZip = "PK\x03\x04"sv;
constexpr auto kEmptyZip = "PK\x05\x06"sv;
/// A pickle of protocol 2 holding PyTorch's magic number.
constexpr auto kLegacyPickle = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
constexpr size_t kTarMagicAt = 257;
constexpr auto kTarMagic = "ustar"sv;
constexpr size_t kHead = 1024;

[[noreturn]] void refuse_old_checkpoint(const std::string& path, const char* what) {
  fail("{}: a PyTorch checkpoint {}, which is not read. With PyTorch 1.13 or newer: {}", path, what,
       save_checkpoint_again(path));
}

/// Files that stand where weights are looked for: how each begins, and what to say.
struct OtherFile {
  std::string_view head;
  const char* what;
};
constexpr OtherFile kOthers[] = {
    {"version https://git-lfs"sv, "a pointer of Git LFS, not the file itself; fetch it: git lfs pull"},
    {"\x1f\x8b"sv, "compressed by gzip; unpack it first"},
    {"BZh"sv, "compressed by bzip2; unpack it first"},
    {"\xfd"
     "7zXZ"sv,
     "compressed by xz; unpack it first"},
    {"\x89HDF"sv, "an HDF5 file (Keras); expected weights of PyTorch or a .safetensors file"},
    {"GGUF"sv, "a GGUF file; expected weights of PyTorch or a .safetensors file"},
};

void refuse_texts(std::string_view head, const std::string& path) {
  const std::string text = beginning_of_text(head);
  if (text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<?xml")) {
    fail("{}: a page of HTML, not weights: was it saved from a browser? Use the link that downloads the file",
         path);
  }
  if (!text.starts_with("{")) return;
  const bool is_index = path.ends_with(".index.json") || text.find("weight_map") != std::string::npos ||
                        text.find("total_size") != std::string::npos;
  if (is_index) {
    fail(
        "{}: an index (index.json) of weights in several files, not the weights. Give the file of weights "
        "beside "
        "it; join several in Python: save_file of all load_file(part) in one dict (safetensors.torch)",
        path);
  }
  fail("{}: a JSON file, not weights; expected .safetensors, .pth or .pt", path);
}

void refuse_known_formats(std::string_view head, const std::string& path) {
  if (head.starts_with(kLegacyPickle)) {
    refuse_old_checkpoint(path, "in the format from before 1.6 (pickles without a zip archive)");
  }
  if (head.substr(std::min(head.size(), kTarMagicAt)).starts_with(kTarMagic)) {
    refuse_old_checkpoint(path, "in the format from before 0.2, or another .tar archive");
  }
  if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    fail("{}: a bare Python pickle, not a file of torch.save. {}", path, save_pickle_weights(path));
  }
  for (const OtherFile& other : kOthers) {
    if (head.starts_with(other.head)) fail("{}: {}", path, other.what);
  }
  refuse_texts(head, path);
}

/// Without values: what check_weights compares before anything is read.
Tensor described(const Shape& shape) {
  Tensor tensor;
  tensor.shape = shape;
  return tensor;
}

std::set<std::string> unused_maskers(const ModelSpec& spec) {
  std::set<std::string> names;
  for (const BlockSpec& block : spec.blocks) {
    if (block.is_dynamic()) continue;
    names.insert(block.masker_name() + ".weight");
    names.insert(block.masker_name() + ".bias");
  }
  return names;
}

/// A file under plain names.
class PlainFile : public WeightFile {
 public:
  explicit PlainFile(std::unique_ptr<WeightFile> file)
      : file_(std::move(file)), names_(plain_names(file_->tensors(), file_->origin())) {
    for (const auto& [plain, original] : names_.original) tensors_[plain] = file_->tensors().at(original);
  }

  std::string origin() const override { return file_->origin(); }
  std::string format() const override { return file_->format(); }
  const std::map<std::string, StoredTensor>& tensors() const override { return tensors_; }
  std::optional<std::string> metadata() const override { return file_->metadata(); }
  std::string state_dict() const override { return file_->state_dict(); }
  std::vector<std::string> other_state_dicts() const override { return file_->other_state_dicts(); }
  std::string prefix() const override { return names_.prefix; }
  Tensor read(const std::string& name) override { return file_->read(names_.original.at(name)); }
  Array<int8_t> read_int8(const std::string& name) override {
    return file_->read_int8(names_.original.at(name));
  }

 private:
  std::unique_ptr<WeightFile> file_;
  PlainNames names_;
  std::map<std::string, StoredTensor> tensors_;
};

std::unique_ptr<WeightFile> open_as_named(const std::string& path, const std::string& state_dict) {
  ByteSource source = ByteSource::open(path);
  std::vector<uint8_t> bytes = source.read(0, std::min<uint64_t>(source.size(), kHead));
  std::string_view head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (head.starts_with(kZip) || head.starts_with(kEmptyZip)) {
    // The length with which a .safetensors file begins can look like anything.
    if (!is_safetensors(head)) return std::make_unique<PyTorchFile>(std::move(source), state_dict);
  }
  if (!is_safetensors(head)) {
    refuse_known_formats(head, path);
    if (!path.ends_with(".safetensors")) {
      fail("{}: neither a .safetensors file nor a PyTorch checkpoint (.pth, .pt), or truncated: {} bytes",
           path, source.size());
    }
  }
  if (!state_dict.empty()) {
    fail("{}: no state dict '{}': a .safetensors file has no dicts to choose from", path, state_dict);
  }
  return std::make_unique<SafetensorsFile>(std::move(source));
}

/// A tensor that the network needs and that is not read as it is.
void check_readable(const std::string& name, const StoredTensor& stored, const std::string& origin) {
  if (stored.obstacle.empty()) return;
  fail("{}: tensor '{}' {}, which is not read. {}", origin, name, stored.obstacle,
       save_weights_alone(origin));
}

}  // namespace

Array<int8_t> WeightFile::read_int8(const std::string& name) {
  fail("{}: tensor '{}': int8 is read from .safetensors files alone", origin(), name);
}

std::unique_ptr<WeightFile> open_weight_file(const std::string& path, const std::string& state_dict) {
  return std::make_unique<PlainFile>(open_as_named(path, state_dict));
}

Weights read_weights(WeightFile& file, const ModelSpec& spec, Weights given, UnknownTensors unknown) {
  std::set<std::string> needed;
  for (const TensorSpec& tensor : required_tensors(spec)) needed.insert(tensor.name);
  const std::set<std::string> unused = unused_maskers(spec);
  Weights weights = std::move(given);
  std::vector<std::string> to_read;
  for (const auto& [name, stored] : file.tensors()) {
    if (weights.contains(name)) continue;
    bool wanted = needed.contains(name);
    bool ignored = unused.contains(name) || !stored.is_float || unknown == UnknownTensors::ignore;
    if (!wanted && ignored) continue;
    if (wanted) check_readable(name, stored, file.origin());
    weights[name] = described(stored.shape);
    if (wanted) to_read.push_back(name);
  }
  check_weights(spec, weights, file.origin());
  std::erase_if(weights, [&](const auto& item) { return !needed.contains(item.first); });
  for (const std::string& name : to_read) weights[name] = file.read(name);
  check_weights(spec, weights, file.origin());
  return weights;
}

}  // namespace lasnet
