#pragma once

namespace lasnet::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadsSanitized = true;
#else
inline constexpr bool kThreadsSanitized = false;
#endif

/// Whether sanitizers are at work, which keep freed memory, take more address space than any limit, and are
/// slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace lasnet::test
