// Text of files and of command lines, whatever the program's locale is.
#pragma once

#include <string>
#include <string_view>

namespace lasnet {

/// How a text file begins: in lower case, from the first character that is neither a byte order mark nor
/// blank.
std::string beginning_of_text(std::string_view head);

/// As one word of a shell's command line.
std::string shell_quoted(std::string_view word);

}  // namespace lasnet
