// The data of a run as streams of batches that depend on (seed, stream, epoch, index) alone.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "train/augment.h"
#include "train/batch_stream.h"
#include "train/dataset.h"
#include "train/train.h"
#include "train/world.h"

namespace lasnet {

/// All images but the first, each mixed with the one before it.
Batch mixed(const Batch& batch, const Mixing& mixing);

class TrainData {
 public:
  /// Opens the images; with skip_unreadable each process reads a share of them, and all leave the same out.
  /// `message` is told sizes, and whenever a stream is begun what was found in images since. Streams have
  /// this process's share of each batch. Throws Error on bad data.
  TrainData(const TrainConfig& config, int threads, const std::function<void(const std::string&)>& message,
            World& world);

  const std::vector<std::string>& classes() const { return classes_; }
  const Preprocessing& preprocessing() const { return preprocessing_; }
  int64_t train_images() const { return train_->size(); }
  int64_t val_images() const { return val_->size(); }
  /// list_files of both parts.
  const std::string& files() const { return files_; }
  /// What this process decoded since the last call.
  DecodeFigures take_figures() const;

  /// Whole batches per epoch: the remainder of a shuffled epoch is dropped, so that BatchNorm never sees a
  /// tiny batch. A set smaller than one batch is one batch.
  int64_t steps_per_epoch() const;
  /// Shuffled, augmented batches [first_step, steps_per_epoch()) of an epoch. `stream` names the random
  /// sequence.
  BatchStream training(const std::string& stream, int epoch, int64_t first_step) const;

  /// The first `images` training images of an order of its own, as the deployed network sees images: this
  /// process's share of each batch, or all.
  BatchStream training_as_deployed(int64_t images, Share share = {}) const;

  int64_t val_batches() const;
  /// All validation images in order, as the deployed network sees them.
  BatchStream validation() const;

 private:
  class Epoch;

  /// An image's view in training, before it is normalised.
  void augment_into(Batch& batch, int64_t place, int64_t item, const std::string& key) const;
  using Write = std::function<void(Batch& batch, int64_t place, int64_t item)>;
  BatchStream in_order(std::vector<int64_t> items, Share share, const Write& write) const;
  void leave_out_unreadable(ImageSource& source, World& world) const;
  void tell_notes() const;

  TrainConfig config_;
  int workers_;
  Share share_;
  Preprocessing preprocessing_;
  BatchWriter writer_;
  std::vector<std::string> classes_;
  std::string files_;
  std::function<void(const std::string&)> message_;
  std::unique_ptr<ReadingNotes> notes_ = std::make_unique<ReadingNotes>();
  std::unique_ptr<ImageSource> train_, val_;
};

}  // namespace lasnet
