// Random numbers that are the same on every platform: xoshiro256++ seeded by splitmix64 (Blackman, Vigna
// 2018).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lasnet {

class Random {
 public:
  using State = std::array<uint64_t, 4>;

  explicit Random(uint64_t seed);
  /// An independent stream for a named purpose of the same seed.
  Random(uint64_t seed, std::string_view purpose);

  uint64_t next();
  /// Uniform in [0, 1).
  double uniform();
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {0 ... n - 1}, n >= 1.
  uint64_t below(uint64_t n);
  /// Standard normal (Box-Muller).
  double normal();
  /// Fisher-Yates.
  template <typename Container>
  void shuffle(Container& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  State state_;
};

}  // namespace lasnet
