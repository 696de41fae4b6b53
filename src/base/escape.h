// Foreign text (names of classes, tensors, files, keys) in what people read: it can neither steer a terminal
// nor fill it.
#pragma once

#include <string>
#include <string_view>

namespace lasnet {

/// Text on one line. Control characters and bytes that are not UTF-8 become \xNN; characters that reorder,
/// hide or break lines become \u{NNNN}; all others stay. Backslashes stay too, so escaping twice is escaping
/// once.
std::string escaped(std::string_view text);

/// A piece of foreign text, escaped, of which at most about `bytes` are shown.
std::string excerpt(std::string_view text, size_t bytes = 80);

/// A whole message, escaped: lines of its own are kept where they are indented, as a message's further lines
/// are. Of more than 4 KiB the middle is left out.
std::string as_message(std::string_view text);

/// Text of JSON, whose escapes it uses instead: the same values, safe to print.
std::string escaped_json(std::string_view json);

}  // namespace lasnet
