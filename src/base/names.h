// Lists of names in messages: what differs, and not too much of it.
#pragma once

#include <string>
#include <vector>

namespace lasnet {

/// "a, b, c, d, e ... 995 more"; 'a', 'b' where a name has a comma; "none" if there are none.
std::string some_of(const std::vector<std::string>& names);

/// The names of `a` that are not in `b`, in their order.
std::vector<std::string> missing_from(const std::vector<std::string>& a, const std::vector<std::string>& b);

}  // namespace lasnet
