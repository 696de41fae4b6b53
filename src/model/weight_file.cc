#include "model/weight_file.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "core/fail.h"
#include "core/file.h"
#include "model/pytorch_file.h"
#include "model/safetensors.h"

namespace lasnet {
namespace {

using namespace std::string_view_literals;

constexpr auto kZip = "PK\x03\x04"sv;
constexpr auto kEmptyZip = "PK\x05\x06"sv;
/// A pickle of protocol 2 holding PyTorch's magic number.
constexpr auto kLegacyPickle = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
constexpr size_t kTarMagicAt = 257;
constexpr auto kTarMagic = "ustar"sv;
constexpr size_t kHead = kTarMagicAt + kTarMagic.size();

[[noreturn]] void refuse_old_checkpoint(const std::string& path, const char* what) {
  fail(
      "{}: a PyTorch checkpoint {}, which is not read. Save it again with PyTorch 1.13 or newer: "
      "torch.save(torch.load(\"old.pth\", map_location=\"cpu\", weights_only=True), \"new.pth\")",
      path, what);
}

void refuse_known_formats(std::string_view head, const std::string& path) {
  if (head.starts_with(kLegacyPickle)) {
    refuse_old_checkpoint(path, "in the format from before 1.6 (pickles without a zip archive)");
  }
  if (head.substr(std::min(head.size(), kTarMagicAt)).starts_with(kTarMagic)) {
    refuse_old_checkpoint(path, "in the format from before 0.2, or another .tar archive");
  }
  if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    fail("{}: a bare Python pickle, not a file of torch.save. Save the weights with torch.save", path);
  }
  if (head.starts_with("\x1f\x8b"sv)) fail("{}: compressed by gzip; unpack it first", path);
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

}  // namespace

std::unique_ptr<WeightFile> open_weight_file(const std::string& path) {
  ByteSource source = ByteSource::open(path);
  std::vector<uint8_t> bytes = source.read(0, std::min<uint64_t>(source.size(), kHead));
  std::string_view head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // First, because the length with which such a file begins can look like anything.
  if (is_safetensors(head)) return std::make_unique<SafetensorsFile>(std::move(source));
  if (head.starts_with(kZip) || head.starts_with(kEmptyZip)) {
    return std::make_unique<PyTorchFile>(std::move(source));
  }
  refuse_known_formats(head, path);
  if (path.ends_with(".safetensors")) return std::make_unique<SafetensorsFile>(std::move(source));
  fail("{}: neither a .safetensors file nor a PyTorch checkpoint (.pth, .pt), or truncated: {} bytes", path,
       source.size());
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
