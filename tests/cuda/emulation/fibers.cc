#include "fibers.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace lasnet::cuda::emulation {
namespace {

/// Where a stack lies. The address sanitizer has to be told of every change of stacks: leave_for before, and
/// arrive after it, on the new one.
struct Stack {
  const void* bottom = nullptr;
  size_t bytes = 0;
};

#if defined(__SANITIZE_ADDRESS__)

constexpr size_t kStackBytes = 512 << 10;  // frames have gaps

/// `frames` keeps what the sanitizer knows of the stack that is left; null if it is never come back to.
void leave_for(const Stack& next, void** frames) {
  if (!frames) __asan_handle_no_return();  // the frames that are left do not clean up
  __sanitizer_start_switch_fiber(frames, next.bottom, next.bytes);
}
/// Returns the stack that was left.
Stack arrive(void* frames) {
  Stack left;
  __sanitizer_finish_switch_fiber(frames, &left.bottom, &left.bytes);
  return left;
}
/// What lies on it was dropped.
void forget(const Stack& stack) { __asan_unpoison_memory_region(stack.bottom, stack.bytes); }

#else

constexpr size_t kStackBytes = 128 << 10;

void leave_for(const Stack&, void**) {}
Stack arrive(void*) { return {}; }
void forget(const Stack&) {}

#endif

}  // namespace

#if defined(__x86_64__)

// ucontext calls the kernel at every switch to save the signal mask; this saves what the calling convention
// asks for.
extern "C" void lasnet_switch_stack(void** save, void* load);
__asm__(
    ".text\n"
    "lasnet_switch_stack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");

struct Context {
  void* stack_pointer = nullptr;

  void prepare(unsigned char* stack, void (*entry)()) {
    auto* top = reinterpret_cast<void**>(stack + kStackBytes);
    top[-2] = reinterpret_cast<void*>(entry);  // returned to with the stack aligned as after a call
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
    stack_pointer = top - 8;
  }
  static void change(Context& from, Context& to) {
    lasnet_switch_stack(&from.stack_pointer, to.stack_pointer);
  }
};

#else

struct Context {
  ucontext_t state;

  void prepare(unsigned char* stack, void (*entry)()) {
    getcontext(&state);
    state.uc_stack.ss_sp = stack;
    state.uc_stack.ss_size = kStackBytes;
    state.uc_link = nullptr;
    makecontext(&state, entry, 0);
  }
  static void change(Context& from, Context& to) { swapcontext(&from.state, &to.state); }
};

#endif

struct Fibers::Impl {
  struct Fiber {
    Context context;
    void* frames = nullptr;
    bool finished = true;
  };
  std::vector<Fiber> fibers;
  std::unique_ptr<unsigned char[]> stacks;  ///< one behind the other
  Context caller;
  Stack caller_stack;
  Body body = nullptr;
  void* argument = nullptr;
  int running = 0;

  static thread_local Impl* current;

  unsigned char* stack(int fiber) const { return stacks.get() + fiber * kStackBytes; }
  Stack stack_of(int fiber) const { return {stack(fiber), kStackBytes}; }

  [[noreturn]] static void entry() {
    Impl* impl = current;
    impl->caller_stack = arrive(nullptr);
    impl->body(impl->running, impl->argument);
    Fiber& fiber = impl->fibers[impl->running];
    fiber.finished = true;
    leave_for(impl->caller_stack, nullptr);
    Context::change(fiber.context, impl->caller);
    __builtin_unreachable();
  }
};

thread_local Fibers::Impl* Fibers::Impl::current = nullptr;

Fibers::Fibers() : impl_(std::make_unique<Impl>()) {}
Fibers::~Fibers() = default;

void Fibers::start(int count, Body body, void* context) {
  for (int i = 0; i < static_cast<int>(impl_->fibers.size()); ++i) {
    if (!finished(i)) forget(impl_->stack_of(i));
  }
  if (static_cast<int>(impl_->fibers.size()) < count) {
    impl_->fibers.resize(count);
    impl_->stacks = std::make_unique_for_overwrite<unsigned char[]>(count * kStackBytes);
  }
  impl_->body = body;
  impl_->argument = context;
  for (int i = 0; i < count; ++i) {
    Impl::Fiber& fiber = impl_->fibers[i];
    fiber.finished = false;
    fiber.context.prepare(impl_->stack(i), &Impl::entry);
  }
}

void Fibers::resume(int fiber) {
  impl_->running = fiber;
  Impl::current = impl_.get();
  void* frames = nullptr;
  leave_for(impl_->stack_of(fiber), &frames);
  Context::change(impl_->caller, impl_->fibers[fiber].context);
  arrive(frames);
}

void Fibers::leave() {
  Impl::Fiber& fiber = impl_->fibers[impl_->running];
  leave_for(impl_->caller_stack, &fiber.frames);
  Context::change(fiber.context, impl_->caller);
  impl_->caller_stack = arrive(fiber.frames);
}

bool Fibers::finished(int fiber) const { return impl_->fibers[fiber].finished; }

std::span<const unsigned char> Fibers::stacks() const {
  return {impl_->stacks.get(), impl_->fibers.size() * kStackBytes};
}

}  // namespace lasnet::cuda::emulation
