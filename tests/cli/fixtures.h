// Models and photographs for the program to work on.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lasnet/image.h"
#include "lasnet/model.h"
#include "support/temporary_dir.h"

namespace lasnet::test {

/// A folder that vanishes with the test.
class TemporaryFolder {
 public:
  std::string path(const std::string& name = "") const { return dir_ / name; }
  /// Files and folders below, by relative path, in order.
  std::vector<std::string> entries(const std::string& name = "") const;

 private:
  TemporaryDir dir_;
};

/// A small dynamic network for 48 px images and two classes, `disc` and `stripes`, of random weights, whose
/// maskers are undecided at the start so that masks vary.
Model tiny_model(const std::vector<int>& granularity = {4, 4, 2, 1});

/// A disc or stripes with noise: a picture of class 0 or 1.
Image tiny_photo(int label, uint64_t seed, int size = 64);

/// DIR/{train,val}/{disc,stripes}/<i>.png with so many pictures each.
void write_image_folder(const std::string& dir, int train_images, int val_images);

/// A test with a folder of its own.
class ProgramTest : public testing::Test {
 protected:
  /// Saves tiny_model as model.safetensors; returns its path.
  std::string save_tiny_model() const;
  /// Saves tiny_photo(label, ...) as <name>; returns its path.
  std::string save_photo(const std::string& name, int label = 0) const;

  TemporaryFolder folder_;
};

}  // namespace lasnet::test
