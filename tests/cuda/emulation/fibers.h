// Cooperative threads of execution on stacks of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace lasnet::cuda::emulation {

/// Runs bodies, each until it returns; between, they hand over with leave().
class Fibers {
 public:
  using Body = void (*)(int fiber, void* context);

  Fibers();
  ~Fibers();

  /// Prepares `count` fibers that will call body(fiber, context). What earlier fibers had left to do is
  /// dropped.
  void start(int count, Body body, void* context);
  /// Runs a fiber until it leaves or finishes.
  void resume(int fiber);
  /// From within a fiber: back to who resumed it.
  void leave();
  bool finished(int fiber) const;
  /// Where the stacks of all of them lie, until the next start.
  std::span<const unsigned char> stacks() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lasnet::cuda::emulation
