#include "model/state_dict.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/fail.h"
#include "model/printable.h"
#include "model/unpickler.h"

namespace lasnet {
namespace {

constexpr std::array<std::string_view, 3> kNested = {"state_dict", "model_state_dict", "model"};
constexpr std::array<std::string_view, 2> kPrefixes = {"module.", "_orig_mod."};
constexpr int kMaxLevels = 4;
constexpr size_t kShownKeys = 10;
constexpr size_t kMaxTensors = 20'000;
constexpr size_t kMaxName = 256;

bool holds_tensors(const PickleData& data, const PickleDict& dict) {
  return std::ranges::any_of(dict.items, [&](const auto& item) {
    return data.as<std::string>(item.first) != nullptr && data.as<PickleTensor>(item.second) != nullptr;
  });
}

/// The dict under the first of kNested that `dict` has; null if none.
const PickleDict* nested(const PickleData& data, const PickleDict& dict) {
  for (std::string_view name : kNested) {
    for (const auto& [key, value] : dict.items) {
      const auto* text = data.as<std::string>(key);
      const auto* inner = data.as<PickleDict>(value);
      if (text != nullptr && *text == name && inner != nullptr) return inner;
    }
  }
  return nullptr;
}

std::string describe_keys(const PickleData& data, const PickleDict& dict) {
  std::vector<std::string> names;
  for (const auto& [key, value] : dict.items) {
    const auto* text = data.as<std::string>(key);
    std::string name = text == nullptr ? kind_of(data.values[key]) : fmt::format("'{}'", printable(*text));
    names.push_back(fmt::format("{} ({})", name, kind_of(data.values[value])));
    if (names.size() == kShownKeys) break;
  }
  if (names.empty()) return "nothing";
  return fmt::format("{}{}", fmt::join(names, ", "), dict.items.size() > names.size() ? ", ..." : "");
}

std::string_view without_prefixes(std::string_view name) {
  for (bool again = true; again;) {
    again = false;
    for (std::string_view prefix : kPrefixes) {
      if (!name.starts_with(prefix)) continue;
      name.remove_prefix(prefix.size());
      again = true;
    }
  }
  return name;
}

void check_name(const std::string& name, const std::string& origin) {
  bool control = std::ranges::any_of(name, [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
  if (control || name.size() > kMaxName) {
    fail("{}: broken checkpoint: '{}' is no name of a tensor", origin, printable(name));
  }
}

}  // namespace

std::map<std::string, const TensorRef*> find_state_dict(const PickleData& data, const std::string& origin) {
  const auto* dict = data.as<PickleDict>(data.root);
  if (dict == nullptr) {
    fail("{}: it holds {}, expected a state dict. {}", origin, kind_of(data.values[data.root]),
         kSaveWeightsAgain);
  }
  for (int level = 0; level < kMaxLevels; ++level) {
    const PickleDict* inner = nested(data, *dict);
    if (inner == nullptr) break;
    dict = inner;
  }
  if (!holds_tensors(data, *dict)) {
    fail("{}: no state dict: expected tensors by name, there or under '{}'; it holds {}. {}", origin,
         fmt::join(kNested, "', '"), describe_keys(data, *dict), kSaveWeightsAgain);
  }
  std::map<std::string, const TensorRef*> tensors;
  for (const auto& [key, value] : dict->items) {
    const auto* name = data.as<std::string>(key);
    const auto* tensor = data.as<PickleTensor>(value);
    if (name == nullptr || tensor == nullptr) continue;
    check_name(*name, origin);
    if (tensors.size() == kMaxTensors) fail("{}: refused: more than {} tensors", origin, kMaxTensors);
    std::string bare(without_prefixes(*name));
    if (!tensors.emplace(bare, &data.tensors[tensor->index]).second) {
      fail("{}: broken checkpoint: the tensor '{}' occurs twice", origin, printable(bare));
    }
  }
  return tensors;
}

}  // namespace lasnet
