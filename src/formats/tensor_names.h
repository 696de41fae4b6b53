// What training programs put before the names of a network's tensors, and how it is taken off.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/weight_file.h"

namespace lasnet {

/// Names in a file, and what they are without wrappers.
struct PlainNames {
  std::string prefix;                           ///< that was taken off, e.g. "backbone."; may be empty
  std::map<std::string, std::string> original;  ///< by plain name
};

/// Names without the parts `module` (DataParallel) and `_orig_mod` (torch.compile). A prefix that all
/// tensors of floating point share is taken off too, if a known network's landmark is then where it belongs.
/// A masker that LAUDNet, the paper's extension, calls `masker_spatial.conv` is called as in model files.
/// Throws Error naming `origin` if a name then occurs twice, and on maskers of channels.
PlainNames plain_names(const std::map<std::string, StoredTensor>& tensors, const std::string& origin);

/// The weights of the first block's first convolution: a name that ends no other name of its network.
std::string landmark(const ModelSpec& spec);

/// What every name begins with, up to a dot; "" if there is no such beginning.
std::string common_prefix(const std::vector<std::string>& names);

/// Every beginning that makes `name` out of one of `names`, e.g. {"student.", "teacher."}.
std::vector<std::string> prefixes_of(const std::string& name, const std::vector<std::string>& names);

}  // namespace lasnet
