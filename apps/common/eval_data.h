// The validation images of `lasnet eval`: which, in whose class order, and decoded in parallel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "lasnet/image.h"

namespace lasnet::cli {

/// DIR/val or DIR/valid if there is one (DIR is a data set's root), else DIR itself. Labels are the model's
/// class indices. Throws Error, naming the differences, if a folder is no class of the model.
ImageFolder open_validation(const std::string& dir, const Model& model);

/// Object masks by relative path: <masks>/<class>/<stem>.png for <folder>/<class>/<stem>.jpg. Throws Error
/// naming the first that is missing.
std::vector<std::string> object_mask_paths(const ImageFolder& folder, const std::string& masks);

/// An image as the network sees it.
struct Sample {
  int label = 0;
  std::string path;
  Tensor input;                 ///< [1, 3, H, W]
  std::vector<uint8_t> object;  ///< [H * W], 1 on the object; empty if no mask was asked for
};

/// Some of a folder's images.
struct Samples {
  std::vector<Sample> read;
  std::vector<std::string> unreadable;  ///< why images were left out, one sentence each
};

/// How samples are made of files.
struct SampleOptions {
  Preprocessing preprocessing;
  DecodeOptions decode;
  bool skip_unreadable = false;
};

/// Items [begin, end). `masks` is empty or parallel to the folder's items. Throws Error on an image that
/// cannot be decoded, unless `skip_unreadable`, and on masks that do not fit.
Samples load_samples(const ImageFolder& folder, const std::vector<std::string>& masks, size_t begin,
                     size_t end, const SampleOptions& options, ThreadPool& pool);

/// Warns of each, or of the first few and how many more there are.
void warn_of_unreadable(const std::vector<std::string>& reasons);

}  // namespace lasnet::cli
