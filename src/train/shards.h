// Images in tar archives, as WebDataset lays them out: KEY.jpg beside KEY.cls, which holds the class's
// number.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/dataset.h"

namespace lasnet {

struct ShardPaths {
  std::string root;                     ///< folder that they are in
  std::vector<std::string> train, val;  ///< without val, a part of train is to be held out
};

/// The archives that `data` names: all of a folder, of its train/ and val/, or those of a pattern as shells
/// expand it, DIR/{train,val}-{000..012}.tar. Names or folders say which part one is. Nothing if `data` is a
/// folder without archives. Throws Error if one is missing, or of no part.
std::optional<ShardPaths> find_shards(const std::string& data);

/// Reads the headers of all archives, on so many threads. Names of classes are the lines of classes.txt
/// beside the archives, else their numbers. Throws Error, naming the member, on archives that are none,
/// images without a class, and numbers of classes that are none or leave one out.
DataSplit open_shards(const ShardPaths& paths, int threads);

/// "a-{1,2}" and "a-{08..10}" written out. Throws Error on braces that make no sense and on too many names.
std::vector<std::string> expand_braces(const std::string& pattern);

}  // namespace lasnet
