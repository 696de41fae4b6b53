// The page: HTML of a report's documents, with everything that it needs inside.
#pragma once

#include <map>
#include <string>

#include "output.h"

namespace lasnet::cli {

/// Files of apps/report/page, compiled in.
struct PageFiles {
  const char* html;
  const char* css;
  const char* js;
};
PageFiles page_files();

/// A report: its documents by part, and what is said above them.
struct Report {
  std::string model;
  std::string command;                    ///< that made it
  std::string output;                     ///< its folder, which has the pictures
  std::map<std::string, Json> documents;  ///< the data of each part
  std::map<std::string, double> seconds;  ///< that each part took
};

/// One HTML document that asks for nothing from anywhere.
std::string page_of(const Report& report);

}  // namespace lasnet::cli
