// Where a session's loops run: on threads of its own, or on the threads of a program that has a pool already.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "lasnet/export.h"

namespace lasnet {

/// A reference to a callable body(index, thread); what it refers to must outlive the call it is passed to.
class LoopBody {
 public:
  /// Refers to `body`.
  template <typename Body, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Body>, LoopBody>>>
  LoopBody(Body&& body)
      : context_(const_cast<void*>(static_cast<const void*>(std::addressof(body)))),
        call_([](void* context, int64_t index, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(index, thread);
        }) {}

  /// Calls the body.
  void operator()(int64_t index, int thread) const { call_(context_, index, thread); }

 private:
  void* context_;
  void (*call_)(void* context, int64_t index, int thread);
};

/// Runs loops whose iterations are independent of each other. Derive from it to run the engine on your own
/// threads. An executor that sessions share must accept loops from several threads at once.
class LASNET_EXPORT Executor {
 public:
  virtual ~Executor();

  /// Calls of one loop's body that may run at the same time, 1 to 1024. Constant.
  virtual int threads() const = 0;

  /// Calls body(index, thread) once for every index in [0, count), in any order. Returns when all calls have
  /// returned and their writes are visible to the caller. `thread` is in [0, threads()). Two calls of this
  /// loop at the same time never have the same `thread`: bodies keep partial sums by it. Bodies do not throw,
  /// do not block and do not start loops. This function must not throw.
  virtual void parallel_for(int64_t count, LoopBody body) = 0;
};

}  // namespace lasnet
