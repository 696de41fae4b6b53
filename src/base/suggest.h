// "Did you mean ...?": the nearest known name by edit distance.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lasnet {

/// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `name`, in whatever case, or "" if there is none within a third of its length (at
/// least 2 edits).
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace lasnet
