#include "formats/tensor_names.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "formats/printable.h"

namespace lasnet {
namespace {

constexpr std::array<std::string_view, 2> kWrappers = {"module", "_orig_mod"};

std::string without_wrappers(std::string_view name) {
  std::string plain;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    begin = end + 1;
    if (std::ranges::find(kWrappers, part) != kWrappers.end()) continue;
    if (!plain.empty()) plain += '.';
    plain += part;
  }
  return plain;
}

/// LAUDNet's names of maskers: of patches in a ResNet's block and in a RegNet's, and of channels.
constexpr std::string_view kBodyMasker = ".f.masker_spatial.conv.", kBlockMasker = ".masker_spatial.conv.",
                           kChannelMasker = ".masker_channel.";

/// LAUDNet's masker of patches under the name that BlockSpec::masker_name has.
std::string with_masker_renamed(std::string name) {
  for (const std::string_view theirs : {kBodyMasker, kBlockMasker}) {
    const size_t at = name.find(theirs);
    if (at != std::string::npos) return name.replace(at, theirs.size(), ".masker.conv2.");
  }
  return name;
}

void check_masks_are_of_patches(const std::string& name, const std::string& origin) {
  if (name.find(kChannelMasker) == std::string::npos) return;
  fail(
      "{}: '{}' belongs to a masker of channels. lasnet skips patches or whole blocks, not channels, and "
      "without its masks such a network is another function. Expected LAUDNet's modes spatial or layer",
      origin, printable(name));
}

const std::set<std::string>& landmarks() {
  static const std::set<std::string> names = [] {
    std::set<std::string> found;
    for (const std::string& arch : architecture_names()) found.insert(landmark(make_spec({.name = arch})));
    return found;
  }();
  return names;
}

/// What can be taken off: "" unless a network follows it.
std::string prefix_of_network(const std::map<std::string, StoredTensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.is_float) names.push_back(without_wrappers(name));
  }
  const std::string prefix = common_prefix(names);
  const bool is_network = std::ranges::any_of(landmarks(), [&](const std::string& landmark) {
    return std::ranges::find(names, prefix + landmark) != names.end();
  });
  return is_network ? prefix : "";
}

}  // namespace

PlainNames plain_names(const std::map<std::string, StoredTensor>& tensors, const std::string& origin) {
  PlainNames plain{.prefix = prefix_of_network(tensors), .original = {}};
  for (const auto& [name, tensor] : tensors) {
    std::string bare = without_wrappers(name);
    if (bare.starts_with(plain.prefix)) bare.erase(0, plain.prefix.size());
    check_masks_are_of_patches(bare, origin);
    bare = with_masker_renamed(std::move(bare));
    if (!plain.original.emplace(bare, name).second) {
      fail("{}: the tensor '{}' occurs twice, as '{}' and '{}'", origin, printable(bare),
           printable(plain.original.at(bare)), printable(name));
    }
  }
  return plain;
}

std::string landmark(const ModelSpec& spec) { return spec.blocks.front().convs.front().name + ".weight"; }

std::string common_prefix(const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const auto [first, last] = std::ranges::minmax(names);
  const auto end = std::ranges::mismatch(first, last).in1;
  const std::string shared(first.begin(), end);
  return shared.substr(0, shared.rfind('.') + 1);
}

std::vector<std::string> prefixes_of(const std::string& name, const std::vector<std::string>& names) {
  std::vector<std::string> prefixes;
  for (const std::string& longer : names) {
    if (longer.size() <= name.size() || !longer.ends_with(name)) continue;
    const std::string prefix = longer.substr(0, longer.size() - name.size());
    if (prefix.ends_with('.')) prefixes.push_back(prefix);
  }
  return prefixes;
}

}  // namespace lasnet
