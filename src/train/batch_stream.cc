#include "train/batch_stream.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fail.h"

namespace lasnet {
namespace {

/// Beside the one that is waited for.
constexpr size_t kBatchesAhead = 2;

}  // namespace

Batch empty_batch(int64_t images, int size) {
  // Interleaved pixels are the channels-last layout; only the dimensions are renamed.
  return {.images = torch::empty({images, size, size, 3}, torch::kFloat32).permute({0, 3, 1, 2}),
          .labels = torch::empty({images}, torch::kInt64),
          .first = 0,
          .total = images};
}

BatchWriter::BatchWriter(const Preprocessing& preprocessing) {
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t value = 0; value < 256; ++value) {
      values_[channel][value] =
          (static_cast<float>(value) / 255.0f - preprocessing.mean[channel]) / preprocessing.std[channel];
    }
  }
}

void BatchWriter::write(const Image& image, int label, Batch& batch, int64_t index) const {
  if (image.height != batch.images.size(2) || image.width != batch.images.size(3)) {
    fail("batch: an image of {}x{} px, expected {}x{}", image.width, image.height, batch.images.size(3),
         batch.images.size(2));
  }
  float* to = batch.images.data_ptr<float>() + index * batch.images.stride(0);
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    for (size_t channel = 0; channel < 3; ++channel)
      to[i + channel] = values_[channel][image.rgb[i + channel]];
  }
  batch.labels.data_ptr<int64_t>()[index] = label;
}

class BatchStream::Workers {
 public:
  Workers(BatchRecipe recipe, int64_t begin, int64_t end, int workers)
      : recipe_(std::move(recipe)), next_index_(begin), end_(end), needed_(static_cast<size_t>(workers)) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }

  Workers(const Workers&) = delete;

  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::optional<Batch> next() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return begun_.empty() ? next_index_ >= end_ : begun_.front()->is_done; });
    if (begun_.empty()) return std::nullopt;
    const std::shared_ptr<Making> first = begun_.front();
    begun_.pop_front();
    room_.notify_all();
    if (first->error) std::rethrow_exception(first->error);
    return std::move(first->batch);
  }

 private:
  /// A batch that is being made.
  struct Making {
    int64_t index = 0;
    Batch batch = {};
    int64_t images = 0;             ///< to be made
    int64_t given = 0, made = 0;    ///< to threads; by them
    std::exception_ptr error = {};  ///< the first one
    bool is_done = false;
  };
  struct Task {
    std::shared_ptr<Making> making;
    int64_t image = 0;
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      std::optional<Task> task;
      room_.wait(lock, [&] { return stopped_ || is_exhausted() || (task = next_task()); });
      if (!task) return;
      lock.unlock();
      std::exception_ptr error = attempt([&] {
        if (task->image < task->making->images)
          recipe_.fill(task->making->index, task->image, task->making->batch);
      });
      lock.lock();
      finish(*task, error, lock);
    }
  }

  bool is_exhausted() const {
    return next_index_ >= end_ && (begun_.empty() || begun_.back()->given >= begun_.back()->images);
  }

  /// The next image of the newest batch, or the first one of a new batch. Nothing where enough is begun.
  std::optional<Task> next_task() {
    for (;;) {
      if (!begun_.empty() && begun_.back()->given < begun_.back()->images)
        return Task{begun_.back(), begun_.back()->given++};
      if (next_index_ >= end_ || is_enough_begun()) return std::nullopt;
      const auto making = std::make_shared<Making>();
      making->index = next_index_++;
      making->error = attempt([&] { making->batch = recipe_.open(making->index); });
      making->images = making->error || !recipe_.fill ? 0 : making->batch.size();
      begun_.push_back(making);
      if (making->images == 0) return Task{making, 0};
    }
  }

  bool is_enough_begun() const {
    if (begun_.size() <= kBatchesAhead) return false;
    size_t images = 0;
    for (const auto& making : begun_) images += static_cast<size_t>(making->images);
    return images >= 2 * needed_;
  }

  /// Counts the image; whoever made the last one of a batch closes it.
  void finish(const Task& task, const std::exception_ptr& error, std::unique_lock<std::mutex>& lock) {
    Making& making = *task.making;
    if (error && !making.error) making.error = error;
    if (making.images > 0 && ++making.made < making.images) return;
    if (recipe_.close && !making.error) {
      lock.unlock();
      const std::exception_ptr closing =
          attempt([&] { making.batch = recipe_.close(making.index, std::move(making.batch)); });
      lock.lock();
      making.error = closing;
    }
    making.is_done = true;
    done_.notify_all();
    if (is_exhausted()) room_.notify_all();
  }

  template <typename Work>
  static std::exception_ptr attempt(const Work& work) {
    try {
      work();
    } catch (...) {
      return std::current_exception();
    }
    return nullptr;
  }

  BatchRecipe recipe_;
  std::mutex mutex_;
  std::condition_variable room_, done_;
  std::deque<std::shared_ptr<Making>> begun_;  ///< not taken yet
  int64_t next_index_, end_;
  size_t needed_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

BatchStream::BatchStream(BatchRecipe recipe, int64_t begin, int64_t end, int workers)
    : workers_(std::make_unique<Workers>(std::move(recipe), begin, end, workers)) {}
BatchStream::BatchStream(BatchStream&&) noexcept = default;
BatchStream::~BatchStream() = default;

std::optional<Batch> BatchStream::next() { return workers_->next(); }

}  // namespace lasnet
