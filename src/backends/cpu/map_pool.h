// The maps and sums of one (batch, height, width) on the CPU, in any arithmetic.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <tuple>
#include <utility>

#include "backends/cpu/shared_lists.h"
#include "base/aligned.h"
#include "lasnet/mask.h"
#include "mask/active_lists.h"

namespace lasnet {

/// Makes arrays and maps, and counts their bytes. In a measuring pass they have no memory. A Map is an
/// aggregate of size, border, pitch and data, and says its `pitch_of(channels)`. Sums are one of map, grid,
/// channels and data, and say their `cell_size(map, channels)`. Pointers stay valid.
template <typename Map, typename Sums>
class MapPool {
 public:
  MapPool(int64_t images, MemoryPass pass) : images_(images), pass_(pass) {}

  int64_t bytes() const { return bytes_; }
  /// Of what is made elsewhere.
  void add_bytes(int64_t bytes) { bytes_ += bytes; }

  template <typename T>
  AlignedArray<T> new_array(int64_t size) {
    bytes_ += AlignedArray<T>::bytes_of(size);
    return measures() ? AlignedArray<T>::without_memory(size) : AlignedArray<T>(size);
  }

  /// Makes an array that blocks share large enough for another.
  template <typename T>
  void grow(AlignedArray<T>& array, int64_t size) {
    if (array.size() >= size) return;
    bytes_ -= AlignedArray<T>::bytes_of(array.size());
    array = AlignedArray<T>();  // before there are two
    array = new_array<T>(size);
  }

  Map* new_map(MapSize size, int64_t channels, int64_t border = 1) {
    const int64_t pitch = Map::pitch_of(channels);
    maps_.push_back({size, border, pitch,
                     new_array<typename Map::Value>(bordered_pixels(size, images_, border) * pitch)});
    return &maps_.back();
  }

  /// One for all blocks that want a map of this role and shape.
  Map* scratch_map(size_t role, MapSize size, int64_t channels, int64_t border = 1) {
    Map*& map = scratch_[{role, size.height, size.width, channels, border}];
    if (map == nullptr) map = new_map(size, channels, border);
    return map;
  }

  /// Those of a map, made at the first call.
  Sums* sums_of(const Map& map, int cell, int channels) {
    auto found = sums_.find(&map);
    if (found == sums_.end()) {
      const PatchGrid cells{map.size, cell};
      auto data = new_array<typename Sums::Value>(images_ * cells.patches() * Sums::cell_size(map, channels));
      found = sums_.emplace(&map, Sums{&map, cells, channels, std::move(data)}).first;
    }
    return &found->second;
  }

 private:
  bool measures() const { return pass_ == MemoryPass::measure; }

  using ScratchKey =  // role, height, width, channels, border
      std::tuple<size_t, int64_t, int64_t, int64_t, int64_t>;

  int64_t images_;
  MemoryPass pass_;
  int64_t bytes_ = 0;
  std::deque<Map> maps_;
  std::map<ScratchKey, Map*> scratch_;
  std::map<const Map*, Sums> sums_;
};

}  // namespace lasnet
