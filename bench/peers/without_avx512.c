// Preloaded into a process (LD_PRELOAD). Answers the CPUID instructions that without_avx512.py replaced by breakpoints, as a
// processor without AVX-512, VNNI and AMX would.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

// Bits of leaf 7, by register (Intel's manual, volume 2A, CPUID; AMD's has the same ones).
static const unsigned kAvx512Ebx = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31;
static const unsigned kAvx512Ecx = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const unsigned kAvx512AmxEdx = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;
static const unsigned kAvxVnniBf16Eax = 1u << 4 | 1u << 5;                        // of its second page
static const unsigned kAvxVnniInt8Avx10Edx = 1u << 4 | 1u << 5 | 1u << 10 | 1u << 19;

static void answer(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned leaf = (unsigned)registers[REG_RAX], page = (unsigned)registers[REG_RCX];
  unsigned a, b, c, d;
  __cpuid_count(leaf, page, a, b, c, d);
  if (leaf == 7 && page == 0) b &= ~kAvx512Ebx, c &= ~kAvx512Ecx, d &= ~kAvx512AmxEdx;
  if (leaf == 7 && page == 1) a &= ~kAvxVnniBf16Eax, d &= ~kAvxVnniInt8Avx10Edx;
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGTRAP, &action, NULL);
}
