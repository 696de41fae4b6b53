#include "formats/pytorch/state_dict.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "base/names.h"
#include "formats/printable.h"
#include "formats/pytorch/python_advice.h"

namespace lasnet {
namespace {

constexpr std::array<std::string_view, 3> kUsual = {"state_dict", "model_state_dict", "model"};
constexpr int kMaxLevels = 4;
constexpr size_t kMaxDicts = 10'000;
constexpr size_t kShown = 10;
constexpr size_t kMaxTensors = 20'000;
constexpr size_t kMaxName = 256;

/// A dict and the keys that lead to it.
struct Place {
  std::string keys;
  const PickleDict* dict;
};

const std::string* name_of(const PickleData& data, const std::pair<ValueId, ValueId>& item) {
  return data.as<std::string>(item.first);
}

bool holds_tensors(const PickleData& data, const PickleDict& dict) {
  return std::ranges::any_of(dict.items, [&](const auto& item) {
    return name_of(data, item) != nullptr && data.as<PickleTensor>(item.second) != nullptr;
  });
}

/// Whether it is of a network, unlike an optimiser's state.
bool holds_weights(const PickleData& data, const PickleDict& dict) {
  return std::ranges::any_of(dict.items, [&](const auto& item) {
    const std::string* name = name_of(data, item);
    return name != nullptr && name->ends_with(".weight") && data.as<PickleTensor>(item.second) != nullptr;
  });
}

std::string joined(const std::string& keys, const std::string& key) {
  return keys.empty() ? key : keys + "." + key;
}

/// The saved value, or where that is a list or tuple, the dicts in it by their place.
std::vector<Place> roots_of(const PickleData& data) {
  if (const auto* dict = data.as<PickleDict>(data.root)) return {{"", dict}};
  const auto* tuple = data.as<PickleTuple>(data.root);
  const auto* list = data.as<PickleList>(data.root);
  std::vector<Place> roots;
  if (tuple == nullptr && list == nullptr) return roots;
  const std::vector<ValueId>& items = tuple != nullptr ? tuple->items : list->items;
  for (size_t i = 0; i < items.size() && roots.size() < kShown; ++i) {
    if (const auto* dict = data.as<PickleDict>(items[i])) roots.push_back({std::to_string(i), dict});
  }
  return roots;
}

/// Every dict that names lead to, each once.
std::vector<Place> all_dicts(const PickleData& data, const std::vector<Place>& roots) {
  std::vector<Place> places;
  std::set<const PickleDict*> seen;
  for (const Place& root : roots) {
    if (seen.insert(root.dict).second) places.push_back(root);
  }
  size_t level_begin = 0;
  for (int level = 0; level < kMaxLevels; ++level) {
    const size_t level_end = places.size();
    for (size_t i = level_begin; i < level_end; ++i) {
      const Place place = places[i];
      for (const auto& item : place.dict->items) {
        const std::string* name = name_of(data, item);
        const auto* inner = data.as<PickleDict>(item.second);
        if (name == nullptr || name->size() > kMaxName || inner == nullptr) continue;
        if (places.size() == kMaxDicts || !seen.insert(inner).second) continue;
        places.push_back({joined(place.keys, *name), inner});
      }
    }
    level_begin = level_end;
  }
  return places;
}

/// What is under the first of kUsual, again and again.
Place usual_place(const PickleData& data, const Place& root) {
  Place place = root;
  for (int level = 0; level < kMaxLevels; ++level) {
    const Place outer = place;
    for (std::string_view usual : kUsual) {
      for (const auto& item : outer.dict->items) {
        const std::string* name = name_of(data, item);
        const auto* inner = data.as<PickleDict>(item.second);
        if (name == nullptr || inner == nullptr || *name != usual) continue;
        if (place.dict == outer.dict) place = {joined(outer.keys, *name), inner};
      }
    }
    if (place.dict == outer.dict) break;
  }
  return place;
}

std::string describe_keys(const PickleData& data, const PickleDict& dict) {
  std::vector<std::string> names;
  for (const auto& [key, value] : dict.items) {
    const auto* text = data.as<std::string>(key);
    std::string name = text == nullptr ? kind_of(data.values[key]) : fmt::format("'{}'", printable(*text));
    names.push_back(fmt::format("{} ({})", name, kind_of(data.values[value])));
    if (names.size() == kShown) break;
  }
  if (names.empty()) return "nothing";
  return fmt::format("{}{}", fmt::join(names, ", "), dict.items.size() > names.size() ? ", ..." : "");
}

std::vector<std::string> keys_of(const std::vector<Place>& places) {
  std::vector<std::string> keys;
  for (const Place& place : places) keys.push_back(place.keys);
  return keys;
}

std::string listed(const std::vector<Place>& places) {
  std::vector<std::string> keys;
  for (const Place& place : places) {
    if (keys.size() < kShown && !place.keys.empty()) keys.push_back("'" + printable(place.keys) + "'");
  }
  return fmt::format("{}{}", fmt::join(keys, ", "), places.size() > kShown ? ", ..." : "");
}

Place place_of(const PickleData& data, const std::vector<Place>& dicts, const std::vector<Place>& weights,
               const std::string& keys, const std::string& origin) {
  for (const Place& place : dicts) {
    if (place.keys == keys && holds_tensors(data, *place.dict)) return place;
  }
  const std::string known = listed(weights);
  fail("{}: no state dict '{}'; {}", origin, printable(keys),
       known.empty() ? "it has none under a key" : "it has " + known);
}

/// How to save the weights alone, where an object may hold some; else there are none to save.
std::string remedy(const PickleData& data, const std::string& origin) {
  const auto is_object = [](const PickleValue& value) { return std::holds_alternative<PickleObject>(value); };
  return std::ranges::any_of(data.values, is_object) ? " " + save_weights_alone(origin) : "";
}

Place only_place(const PickleData& data, const PickleDict& root, const std::vector<Place>& weights,
                 const std::string& origin) {
  if (weights.size() == 1) return weights.front();
  if (weights.empty()) {
    fail("{}: no state dict: expected tensors by name, there or under '{}'; it holds {}.{}", origin,
         fmt::join(kUsual, "', '"), describe_keys(data, root), remedy(data, origin));
  }
  throw SeveralStateDicts(fmt::format("{}: it has several state dicts: {}", origin, listed(weights)));
}

void check_name(const std::string& name, const std::string& origin) {
  bool control = std::ranges::any_of(name, [](unsigned char c) { return c < ' ' || c == 0x7f; });
  if (control || name.size() > kMaxName) {
    fail("{}: broken checkpoint: '{}' is no name of a tensor", origin, printable(name));
  }
}

/// A tensor, or what stands for one of a kind that is not read; nullopt for everything else.
std::optional<TensorRef> tensor_at(const PickleData& data, ValueId value) {
  if (const auto* tensor = data.as<PickleTensor>(value)) return data.tensors[tensor->index];
  const auto* object = data.as<PickleObject>(value);
  if (object == nullptr) return std::nullopt;
  if (object->of->name.find("._rebuild_") == std::string_view::npos) return std::nullopt;
  TensorRef unread;
  unread.obstacle = fmt::format("is made by '{}'", object->of->name);
  return unread;
}

std::map<std::string, TensorRef> tensors_of(const PickleData& data, const PickleDict& dict,
                                            const std::string& origin) {
  std::map<std::string, TensorRef> tensors;
  for (const auto& [key, value] : dict.items) {
    const auto* name = data.as<std::string>(key);
    std::optional<TensorRef> tensor = name == nullptr ? std::nullopt : tensor_at(data, value);
    if (!tensor) continue;
    check_name(*name, origin);
    if (tensors.size() == kMaxTensors) fail("{}: refused: more than {} tensors", origin, kMaxTensors);
    if (!tensors.emplace(*name, std::move(*tensor)).second) {
      fail("{}: broken checkpoint: the tensor '{}' occurs twice", origin, printable(*name));
    }
  }
  return tensors;
}

}  // namespace

StateDict find_state_dict(const PickleData& data, const std::string& origin, const std::string& keys) {
  const std::vector<Place> roots = roots_of(data);
  if (roots.empty()) {
    fail("{}: it holds {}, expected a state dict. Nothing was executed.{}", origin,
         kind_of(data.values[data.root]), remedy(data, origin));
  }
  const std::vector<Place> dicts = all_dicts(data, roots);
  std::vector<Place> weights;
  for (const Place& place : dicts) {
    if (holds_weights(data, *place.dict)) weights.push_back(place);
  }
  Place place = usual_place(data, roots.front());
  if (!keys.empty()) {
    place = place_of(data, dicts, weights, keys, origin);
  } else if (roots.size() > 1 || !holds_tensors(data, *place.dict)) {
    place = only_place(data, *roots.front().dict, weights, origin);
  }
  std::erase_if(weights, [&](const Place& other) { return other.dict == place.dict; });
  return {place.keys, keys_of(weights), tensors_of(data, *place.dict, origin)};
}

std::string describe_choice(const std::string& path, const std::string& keys,
                            const std::vector<std::string>& others) {
  if (others.empty()) return {};
  return fmt::format("{}: the weights are those of {}; there are others: {}", path,
                     keys.empty() ? "the file itself" : "'" + keys + "'", some_of(others));
}

}  // namespace lasnet
