#include "formats/pytorch/pickle_stack.h"

#include <algorithm>

namespace lasnet {
namespace {

// Far above what checkpoints need, far below what hurts.
constexpr size_t kMaxValues = 400'000;
constexpr size_t kMaxStack = 100'000;
constexpr size_t kMaxMemo = 1'000'000;
constexpr uint16_t kMaxDepth = 200;

}  // namespace

void PickleStack::check_height() const {
  if (stack_.size() + marks_.size() > kMaxStack) reader_.too_many("values on its stack", kMaxStack);
}

void PickleStack::push_id(ValueId id) {
  stack_.push_back(id);
  check_height();
}

void PickleStack::mark() {
  marks_.push_back(stack_.size());
  check_height();
}

void PickleStack::push(PickleValue value, uint16_t depth) {
  if (data.values.size() == kMaxValues) reader_.too_many("values", kMaxValues);
  if (depth > kMaxDepth) reader_.too_many("levels of nesting", kMaxDepth);
  auto id = static_cast<ValueId>(data.values.size());
  data.values.push_back(std::move(value));
  depths_.push_back(depth);
  push_id(id);
}

ValueId PickleStack::top() const {
  if (available() == 0) reader_.broken("its stack is empty where a value is needed");
  return stack_.back();
}

ValueId PickleStack::pop() {
  ValueId id = top();
  stack_.pop_back();
  return id;
}

std::vector<ValueId> PickleStack::pop_many(size_t count) {
  if (available() < count) reader_.broken("its stack is empty where a value is needed");
  std::vector<ValueId> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
  stack_.resize(stack_.size() - count);
  return items;
}

std::vector<ValueId> PickleStack::pop_to_mark() {
  if (marks_.empty()) reader_.broken("a mark is missing");
  std::vector<ValueId> items = pop_many(available());
  marks_.pop_back();
  return items;
}

ValueId PickleStack::pop_last() {
  ValueId id = pop();
  if (!stack_.empty() || !marks_.empty()) reader_.broken("it stops with values left on its stack");
  return id;
}

void PickleStack::remember(size_t key) {
  ValueId id = top();
  if (key >= kMaxMemo) reader_.too_many("values in its memo", kMaxMemo);
  if (key >= memo_.size()) memo_.resize(key + 1);
  memo_[key] = id;
}

void PickleStack::recall(size_t key) {
  if (key >= memo_.size() || !memo_[key]) reader_.broken(fmt::format("memo key {} was never set", key));
  push_id(*memo_[key]);
}

uint16_t PickleStack::depth_around(const std::vector<ValueId>& items) const {
  uint16_t depth = 0;
  for (ValueId id : items) depth = std::max<uint16_t>(depth, depths_[id] + 1);
  return depth;
}

void PickleStack::push_tuple(std::vector<ValueId> items) {
  uint16_t depth = depth_around(items);
  push(PickleTuple{std::move(items)}, depth);
}

template <typename T>
T& PickleStack::grow(const std::vector<ValueId>& items, const char* verb) {
  ValueId id = top();
  T* container = std::get_if<T>(&data.values[id]);
  if (container == nullptr) reader_.refuse(fmt::format("{} {}", verb, kind_of(data.values[id])));
  depths_[id] = std::max(depths_[id], depth_around(items));
  if (depths_[id] > kMaxDepth) reader_.too_many("levels of nesting", kMaxDepth);
  return *container;
}

void PickleStack::append(const std::vector<ValueId>& items) {
  if (is_inert(top())) return;
  auto& list = grow<PickleList>(items, "appends to").items;
  list.insert(list.end(), items.begin(), items.end());
}

void PickleStack::set_items(const std::vector<ValueId>& items) {
  if (items.size() % 2 != 0) reader_.broken("a key has no value");
  if (is_inert(top())) return;
  auto& dict = grow<PickleDict>(items, "sets items of").items;
  for (size_t i = 0; i < items.size(); i += 2) dict.emplace_back(items[i], items[i + 1]);
}

}  // namespace lasnet
