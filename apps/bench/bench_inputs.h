// The inputs of a benchmark: fresh ones for every repetition.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"
#include "lasnet/image.h"

namespace lasnet::cli {

/// A stream of batches: uniform noise of a seed, or a folder's photographs in turn, from the beginning again
/// after the last. Where so many batches do not take all photographs, they are spread evenly over the folder.
class BenchInputs {
 public:
  /// `images`: folder, searched at any depth; "": noise. `batches`: how many the measurement takes. Throws
  /// Error if the folder holds no image.
  BenchInputs(const std::string& images, const Preprocessing& preprocessing, MapSize size, int64_t batch,
              int64_t batches, uint64_t seed, DecodeOptions decode);

  /// float32 [batch, 3, size.height, size.width], preprocessed.
  Tensor next();
  /// Photographs that are used; 0: noise.
  size_t photographs() const { return files_.size(); }
  /// Of how many in the folder.
  size_t photographs_found() const { return found_; }

 private:
  size_t found_ = 0;
  std::vector<std::string> files_;
  size_t next_file_ = 0;
  Preprocessing preprocessing_;
  MapSize size_;
  int64_t batch_;
  Random random_;
  DecodeOptions decode_;
};

}  // namespace lasnet::cli
