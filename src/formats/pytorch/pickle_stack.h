// The memory of the pickle machine: values, stack, marks and memo, all bounded.
#pragma once

#include <optional>
#include <vector>

#include "formats/pytorch/pickle_reader.h"
#include "formats/pytorch/pickle_value.h"

namespace lasnet {

class PickleStack {
 public:
  explicit PickleStack(const PickleReader& reader) : reader_(reader) {}

  PickleData data;

  /// A new value on the stack. `depth` is its nesting: 0 for one that holds no others.
  void push(PickleValue value, uint16_t depth = 0);
  /// An old value on the stack once more.
  void push_id(ValueId id);
  void mark();
  void push_tuple(std::vector<ValueId> items);

  ValueId top() const;
  ValueId pop();
  std::vector<ValueId> pop_many(size_t count);
  std::vector<ValueId> pop_to_mark();
  /// The value that STOP finds: the only one.
  ValueId pop_last();

  void remember(size_t key);
  void remember_next() { remember(memo_.size()); }
  void recall(size_t key);

  /// Into the list or dict on top of the stack. An inert object there takes and forgets them.
  void append(const std::vector<ValueId>& items);
  void set_items(const std::vector<ValueId>& items);

  /// One more than the deepest of `items`.
  uint16_t depth_around(const std::vector<ValueId>& items) const;

 private:
  void check_height() const;
  size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  bool is_inert(ValueId id) const { return data.as<PickleObject>(id) != nullptr; }
  template <typename T>
  T& grow(const std::vector<ValueId>& items, const char* verb);

  const PickleReader& reader_;
  std::vector<uint16_t> depths_;  ///< of each value
  std::vector<ValueId> stack_;
  std::vector<size_t> marks_;  ///< heights of the stack
  std::vector<std::optional<ValueId>> memo_;
};

}  // namespace lasnet
