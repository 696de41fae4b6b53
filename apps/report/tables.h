// The numbers behind a figure, as the page shows them and as CSV: the same texts in both.
#pragma once

#include <string>
#include <vector>

#include "output.h"

namespace lasnet::cli {

struct DataTable {
  std::string name;     ///< of its CSV file
  std::string caption;  ///< what it holds
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

/// Of a part's document, in the order in which its figures stand.
std::vector<DataTable> tables_of(const std::string& part, const Json& document);

/// RFC 4180.
std::string to_csv(const DataTable& table);

/// Four digits, e.g. "23.14"; "" of null.
std::string number_text(const Json& value);

}  // namespace lasnet::cli
