// Covering arrays: few combinations in which every pair of options meets.
#pragma once

#include <set>
#include <tuple>
#include <vector>

namespace lasnet::test {

/// One choice per factor.
using Combination = std::vector<int>;

/// All combinations of factors with these numbers of options.
inline std::vector<Combination> full_product(const std::vector<int>& options) {
  std::vector<Combination> product = {{}};
  for (int count : options) {
    std::vector<Combination> longer;
    for (const Combination& prefix : product) {
      for (int choice = 0; choice < count; ++choice) {
        longer.push_back(prefix);
        longer.back().push_back(choice);
      }
    }
    product = std::move(longer);
  }
  return product;
}

/// Greedy subset of the product in which every pair (option of one factor, option of another) occurs.
inline std::vector<Combination> pairwise(const std::vector<int>& options) {
  using Pair = std::tuple<size_t, int, size_t, int>;
  auto pairs_of = [&](const Combination& c) {
    std::vector<Pair> pairs;
    for (size_t a = 0; a < c.size(); ++a) {
      for (size_t b = a + 1; b < c.size(); ++b) pairs.emplace_back(a, c[a], b, c[b]);
    }
    return pairs;
  };
  std::vector<Combination> candidates = full_product(options), chosen;
  std::set<Pair> open;
  for (const Combination& c : candidates) {
    for (const Pair& pair : pairs_of(c)) open.insert(pair);
  }
  while (!open.empty()) {
    const Combination* best = nullptr;
    size_t best_count = 0;
    for (const Combination& c : candidates) {
      size_t count = 0;
      for (const Pair& pair : pairs_of(c)) count += open.contains(pair);
      if (count > best_count) {
        best_count = count;
        best = &c;
      }
    }
    for (const Pair& pair : pairs_of(*best)) open.erase(pair);
    chosen.push_back(*best);
  }
  return chosen;
}

}  // namespace lasnet::test
