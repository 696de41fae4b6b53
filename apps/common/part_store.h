// What has been measured, part by part, in the folder of a report or a sweep: so that an interrupted one goes
// on.
#pragma once

#include <optional>
#include <string>

#include "output.h"

namespace lasnet::cli {

/// A measured part.
struct StoredPart {
  double seconds = 0;  ///< that it took
  Json data;
};

/// DIR/data/<part>.json. Every file is written whole or not at all.
class PartStore {
 public:
  /// `key`: parts of another one are not found.
  PartStore(std::string dir, std::string key);

  /// Nothing where there is none, or none that can be used.
  std::optional<StoredPart> find(const std::string& part) const;
  void put(const std::string& part, const StoredPart& stored) const;

 private:
  std::string path_of(const std::string& part) const;

  std::string dir_, key_;
};

}  // namespace lasnet::cli
