#include "fibers.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace lasnet::cuda::emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;

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
    std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
    bool finished = true;
  };
  std::vector<Fiber> fibers;
  Context caller;
  Body body = nullptr;
  void* argument = nullptr;
  int running = 0;

  static thread_local Impl* current;

  [[noreturn]] static void entry() {
    Impl* impl = current;
    impl->body(impl->running, impl->argument);
    Fiber& fiber = impl->fibers[impl->running];
    fiber.finished = true;
    Context::change(fiber.context, impl->caller);
    __builtin_unreachable();
  }
};

thread_local Fibers::Impl* Fibers::Impl::current = nullptr;

Fibers::Fibers() : impl_(std::make_unique<Impl>()) {}
Fibers::~Fibers() = default;

void Fibers::start(int count, Body body, void* context) {
  if (static_cast<int>(impl_->fibers.size()) < count) impl_->fibers.resize(count);
  impl_->body = body;
  impl_->argument = context;
  for (int i = 0; i < count; ++i) {
    impl_->fibers[i].finished = false;
    impl_->fibers[i].context.prepare(impl_->fibers[i].stack.get(), &Impl::entry);
  }
}

void Fibers::resume(int fiber) {
  impl_->running = fiber;
  Impl::current = impl_.get();
  Context::change(impl_->caller, impl_->fibers[fiber].context);
}

void Fibers::leave() {
  int fiber = impl_->running;
  Context::change(impl_->fibers[fiber].context, impl_->caller);
}

bool Fibers::finished(int fiber) const { return impl_->fibers[fiber].finished; }

}  // namespace lasnet::cuda::emulation
