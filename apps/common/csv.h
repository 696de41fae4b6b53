// CSV (RFC 4180).
#pragma once

#include <string>
#include <vector>

namespace lasnet::cli {

/// Cells with commas between, quoted where they have to be, and the line's end.
std::string csv_line(const std::vector<std::string>& cells);

}  // namespace lasnet::cli
