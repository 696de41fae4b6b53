// A locale whose decimal mark is a comma, for C and C++ alike, as a program around the library may have set
// it.
#pragma once

#include <clocale>
#include <cstdlib>
#include <locale>
#include <stdexcept>
#include <string>

#include "support/temporary_dir.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace lasnet::test {

#if defined(__SANITIZE_ADDRESS__)
using LeaksAreAllowed = __lsan::ScopedDisabler;
#else
struct LeaksAreAllowed {
  LeaksAreAllowed() {}  // not trivial, so that a variable of it is not unused
};
#endif

/// In force while it lives. Uses a locale that is installed, else one that `localedef` makes.
class CommaLocale {
 public:
  CommaLocale() {
    for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "nl_NL.UTF-8"}) {
      if (!found_) take(name);
    }
    if (!found_) take_a_new_one();
  }
  CommaLocale(const CommaLocale&) = delete;
  ~CommaLocale() {
    std::locale::global(std::locale::classic());
    std::setlocale(LC_ALL, "C");
    ::unsetenv("LOCPATH");
  }

  /// False where there is none and none can be made.
  bool found() const { return found_; }

 private:
  void take(const char* name) {
    // The C library keeps what it reads of LOCPATH, and forgets where.
    const LeaksAreAllowed allowed;
    try {
      std::locale::global(std::locale(name));  // which calls setlocale as well
    } catch (const std::runtime_error&) {
      return;
    }
    found_ = std::localeconv()->decimal_point == std::string(",");
  }

  void take_a_new_one() {
    const std::string path = dir_ / "de_DE.UTF-8";
    const std::string make = "localedef -i de_DE -f UTF-8 '" + path + "' >/dev/null 2>&1";
    if (std::system(make.c_str()) != 0) return;
    ::setenv("LOCPATH", dir_.path().c_str(), 1);
    take("de_DE.UTF-8");
  }

  TemporaryDir dir_;
  bool found_ = false;
};

}  // namespace lasnet::test
