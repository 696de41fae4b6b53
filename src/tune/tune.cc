#include "lasnet/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/finite.h"
#include "base/memory.h"
#include "base/random.h"
#include "lasnet/geometry.h"
#include "lasnet/image.h"
#include "lasnet/operating_point.h"
#include "tune/threshold_step.h"

namespace lasnet {
namespace {

/// Steps between two points: finer ones follow the best way more closely, and take longer.
constexpr double kStepsPerPoint = 3;
/// Runs of the drawn images for each step, about: some blocks are measured again before one is chosen.
constexpr double kRunsPerStep = 3;
/// Whose differences are in memory at once: of the trained thresholds, of where the walk is, of the best next
/// stop, and of the one that is being measured.
constexpr int64_t kKeptDifferences = 4;

struct Batch {
  Tensor input;
  std::vector<int> labels;
};

/// Neighbours of one size together.
std::vector<Batch> make_batches(std::vector<LabelledImage> images, size_t most) {
  std::vector<Batch> batches;
  for (size_t first = 0; first < images.size();) {
    std::vector<Tensor> inputs;
    Batch batch;
    const Shape shape = images[first].input.shape;
    for (; first < images.size() && inputs.size() < most && images[first].input.shape == shape; ++first) {
      inputs.push_back(std::move(images[first].input));
      batch.labels.push_back(images[first].label);
    }
    batch.input = stack(inputs);
    batches.push_back(std::move(batch));
  }
  return batches;
}

double cross_entropy(const float* logits, int64_t classes, int label) {
  const double largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c] - largest);
  return std::log(sum) + largest - logits[label];
}

/// What thresholds give, summed over images.
struct Sums {
  int64_t images = 0, hits = 0;
  double loss = 0, macs_ratio = 0;
  std::vector<double> rates;                    ///< of each block
  std::vector<std::vector<float>> differences;  ///< of each block's patches, where they are recorded

  double mean_loss() const { return loss / static_cast<double>(images); }
  double mean_macs_ratio() const { return macs_ratio / static_cast<double>(images); }
};

void add_logits(const Tensor& logits, const std::vector<int>& labels, Sums& sums) {
  const int64_t classes = logits.shape[1];
  for (size_t n = 0; n < labels.size(); ++n) {
    const float* row = logits.data.data() + static_cast<int64_t>(n) * classes;
    if (!all_finite({row, static_cast<size_t>(classes)}))
      fail("tune: an image's logits are not finite numbers, so it has no class");
    sums.loss += cross_entropy(row, classes, labels[n]);
    sums.hits += std::max_element(row, row + classes) - row == labels[n];
  }
  sums.images += static_cast<int64_t>(labels.size());
}

void add_trace(const Trace& trace, Sums& sums) {
  for (const double macs : trace.image_macs) sums.macs_ratio += macs / static_cast<double>(trace.static_macs);
  sums.rates.resize(trace.blocks.size());
  sums.differences.resize(trace.blocks.size());
  for (size_t b = 0; b < trace.blocks.size(); ++b) {
    const BlockTrace& block = trace.blocks[b];
    sums.rates[b] += std::accumulate(block.rates.begin(), block.rates.end(), 0.0);
    const auto& differences = block.logit_difference.data;
    if (!all_finite(differences)) {
      fail(
          "tune: {}: a logit difference of its masker is not a finite number, so no threshold can be chosen; "
          "expected a masker with smaller weights",
          block.name);
    }
    sums.differences[b].insert(sums.differences[b].end(), differences.begin(), differences.end());
  }
}

/// Thresholds on a walk, and the MAC ratio that the drawn images give.
struct Stop {
  std::vector<float> thresholds;
  double macs_ratio = 1;
};

/// A block's next step.
struct Candidate {
  bool is_open = true;   ///< the block has one
  int64_t measured = 0;  ///< the step for which it was
  /// Change of the loss for each change of the MACs; until it is measured, less than any.
  double harm = -std::numeric_limits<double>::infinity();
  Stop stop;
  Sums sums;  ///< what `stop` gives, while the step may be taken

  /// The least comes first.
  std::pair<bool, double> rank() const { return {!is_open, harm}; }
};

class Tuner {
 public:
  Tuner(const Model& model, const LabelledImages& data, const TuneOptions& options)
      : model_(model),
        data_(data),
        options_(options),
        session_(model, options.session),
        step_(1 / (kStepsPerPoint * options.points)) {
    draw_images();
    weigh_blocks();
  }

  std::vector<OperatingPoint> run() {
    Stop start{.thresholds = std::vector<float>(model_.spec.blocks.size())};
    const Sums sums = measure(start.thresholds);
    start.macs_ratio = sums.mean_macs_ratio();
    note_arrival(start, sums);
    std::vector<Stop> stops = walk(start, sums, TuneDirection::fewer);
    std::ranges::reverse(stops);
    const size_t trained = stops.size();
    stops.push_back(start);
    std::ranges::move(walk(start, sums, TuneDirection::more), std::back_inserter(stops));
    return accurate_ones(measure_all(spread(stops, trained)));
  }

 private:
  /// The images that decide, kept in memory: they run many times. Others stand in for those that cannot be
  /// read.
  void draw_images() {
    std::vector<int64_t> indices(static_cast<size_t>(data_.count));
    std::iota(indices.begin(), indices.end(), int64_t{0});
    Random random(options_.seed, "tune");
    random.shuffle(indices);
    const size_t wanted = std::min(indices.size(), static_cast<size_t>(options_.images));
    std::vector<LabelledImage> images;
    for (auto next = indices.begin(); next != indices.end() && images.size() < wanted;) {
      // One by one, until an image says how much memory all of them need.
      const auto missing = static_cast<int64_t>(images.empty() ? 1 : wanted - images.size());
      const auto end = next + std::min(missing, indices.end() - next);
      std::sort(next, end);
      std::vector<LabelledImage> some = read({next, end});
      if (images.empty() && !some.empty()) check_memory(some.front(), static_cast<int64_t>(wanted));
      std::ranges::move(some, std::back_inserter(images));
      next = end;
    }
    if (images.empty()) fail("tune: none of the {} images can be read", data_.count);
    drawn_ = batches_of(std::move(images));
  }

  void check_memory(const LabelledImage& image, int64_t images) const {
    const Shape& shape = image.input.shape;
    int64_t values = image.input.size();
    for (const BlockGeometry& block : network_geometry(model_.spec, {shape[2], shape[3]}).blocks) {
      if (block.grid.granularity > 0) values += kKeptDifferences * block.grid.patches();
    }
    require_memory(images * values * static_cast<int64_t>(sizeof(float)),
                   fmt::format("{} images that thresholds are chosen on", images),
                   "let fewer of them decide");
  }

  std::vector<Batch> batches_of(std::vector<LabelledImage> images) const {
    return make_batches(std::move(images), static_cast<size_t>(options_.batch));
  }

  std::vector<LabelledImage> read(const std::vector<int64_t>& indices) const {
    std::vector<LabelledImage> images = data_.read(indices);
    const int classes = model_.spec.arch.classes;
    for (const LabelledImage& image : images) {
      if (image.label < 0 || image.label >= classes)
        fail("tune: an image has label {}; expected 0 to {}", image.label, classes - 1);
    }
    return images;
  }

  /// Of each block: how much of the network's MACs its patches take together, halo included.
  void weigh_blocks() {
    const Shape& shape = drawn_.front().input.shape;
    const NetworkGeometry geometry = network_geometry(model_.spec, {shape[2], shape[3]});
    const auto all = static_cast<double>(static_macs(model_.spec, geometry.input));
    for (size_t b = 0; b < model_.spec.blocks.size(); ++b) {
      const BlockMacs::Terms terms = block_macs(model_.spec.blocks[b], geometry.blocks[b]).terms();
      weights_.push_back((terms.dilated + terms.active) / all);
    }
  }

  void add(const Batch& batch, const std::vector<float>& thresholds, bool record, Sums& sums) {
    session_.run(batch.input, {.thresholds = thresholds, .record_masks = record}, result_);
    add_logits(result_.logits, batch.labels, sums);
    add_trace(result_.trace, sums);
  }

  /// Of the drawn images.
  Sums measure(const std::vector<float>& thresholds) {
    Sums sums;
    for (const Batch& batch : drawn_) {
      add(batch, thresholds, true, sums);
      ran_ += static_cast<double>(batch.labels.size());
      report_choosing();
    }
    for (std::vector<float>& differences : sums.differences) std::ranges::sort(differences, std::greater<>());
    return sums;
  }

  /// Stops after `here`, up to where no block can go on. `sums`: what `here` gives.
  std::vector<Stop> walk(Stop here, Sums sums, TuneDirection direction) {
    std::vector<Candidate> candidates(model_.spec.blocks.size());
    std::vector<Stop> stops;
    for (int64_t step = 1;;) {
      const auto best = std::ranges::min_element(candidates, {}, &Candidate::rank);
      if (!best->is_open) return stops;
      if (best->measured != step) {
        const auto block = static_cast<size_t>(best - candidates.begin());
        *best = candidate(block, here, sums, direction);
        best->measured = step;
        forget_all_but_best(candidates, step);
        continue;
      }
      here = best->stop;
      sums = std::exchange(best->sums, {});
      stops.push_back(here);
      note_arrival(here, sums);
      ++step;
    }
  }

  /// Only the best of those measured for this step can be taken. Differences of all would fill the memory.
  static void forget_all_but_best(std::vector<Candidate>& candidates, int64_t step) {
    const auto best = std::ranges::min_element(candidates, {}, [step](const Candidate& candidate) {
      return std::pair(candidate.measured != step, candidate.rank());
    });
    for (auto other = candidates.begin(); other != candidates.end(); ++other) {
      if (other != best) other->sums = {};
    }
  }

  Candidate candidate(size_t block, const Stop& here, const Sums& sums, TuneDirection direction) {
    Candidate next;
    const double share = weights_[block] > 0 ? step_ / weights_[block] : 1;
    const auto threshold = sums.differences[block].empty()
                               ? std::nullopt
                               : next_threshold(sums.differences[block], here.thresholds[block],
                                                std::min(share, 1.0), direction);
    next.is_open = threshold.has_value();
    if (!next.is_open) return next;
    next.stop.thresholds = here.thresholds;
    next.stop.thresholds[block] = *threshold;
    next.sums = measure(next.stop.thresholds);
    next.stop.macs_ratio = next.sums.mean_macs_ratio();
    // What saves next to nothing is not worth much harm.
    const double saved = std::max(std::abs(next.stop.macs_ratio - here.macs_ratio), 1e-2 * step_);
    next.harm = (next.sums.mean_loss() - sums.mean_loss()) / saved;
    return next;
  }

  /// About equal distances apart, first and last included, and the one at `trained`.
  std::vector<Stop> spread(const std::vector<Stop>& stops, size_t trained) const {
    const double least = stops.front().macs_ratio, most = stops.back().macs_ratio;
    std::vector<bool> chosen(stops.size());
    chosen[trained] = true;
    for (int i = 0; i < options_.points; ++i) {
      const double wanted = std::lerp(least, most, static_cast<double>(i) / (options_.points - 1));
      const auto nearest = std::ranges::min_element(
          stops, {}, [&](const Stop& stop) { return std::abs(stop.macs_ratio - wanted); });
      chosen[static_cast<size_t>(nearest - stops.begin())] = true;
    }
    chosen.front() = chosen.back() = true;
    std::vector<Stop> result;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (chosen[i]) result.push_back(stops[i]);
    }
    return result;
  }

  /// On all images, each of which is read once.
  std::vector<OperatingPoint> measure_all(const std::vector<Stop>& stops) {
    std::vector<Sums> sums(stops.size());
    for (int64_t begin = 0; begin < data_.count; begin += options_.batch) {
      std::vector<int64_t> indices(
          static_cast<size_t>(std::min<int64_t>(options_.batch, data_.count - begin)));
      std::iota(indices.begin(), indices.end(), begin);
      for (const Batch& batch : batches_of(read(indices))) {
        for (size_t i = 0; i < stops.size(); ++i) add(batch, stops[i].thresholds, false, sums[i]);
      }
      report_measuring(static_cast<double>(begin) / static_cast<double>(data_.count));
    }
    std::vector<OperatingPoint> points;
    for (size_t i = 0; i < stops.size(); ++i) points.push_back(point_of(stops[i], sums[i]));
    return points;
  }

  OperatingPoint point_of(const Stop& stop, const Sums& sums) const {
    const auto images = static_cast<double>(sums.images);
    OperatingPoint point{.macs_ratio = sums.mean_macs_ratio(),
                         .top1 = static_cast<double>(sums.hits) / images,
                         .thresholds = stop.thresholds,
                         .rates = {},
                         .predicted_ms = {}};
    for (const double rate : sums.rates) point.rates.push_back(std::min(1.0, rate / images));
    for (const HardwareProfile& hardware : options_.hardware)
      point.predicted_ms[hardware.name] = predicted_ms(model_, point, hardware);
    return point;
  }

  /// Those than which none is as accurate with as few MACs. `points`: from few to many.
  static std::vector<OperatingPoint> accurate_ones(const std::vector<OperatingPoint>& points) {
    std::vector<OperatingPoint> kept;
    for (const OperatingPoint& point : points) {
      while (!kept.empty() && kept.back().macs_ratio >= point.macs_ratio && kept.back().top1 <= point.top1)
        kept.pop_back();
      const bool is_better =
          kept.empty() || (point.macs_ratio > kept.back().macs_ratio && point.top1 > kept.back().top1);
      if (is_better) kept.push_back(point);
    }
    return kept;
  }

  /// Images that both walks are expected to run: every block once at their beginning, then some for each
  /// step.
  double expected_choosing() const {
    const auto blocks = static_cast<double>(model_.spec.blocks.size());
    double drawn = 0;
    for (const Batch& batch : drawn_) drawn += static_cast<double>(batch.labels.size());
    return drawn * (1 + 2 * blocks + kRunsPerStep * kStepsPerPoint * options_.points);
  }
  double expected_measuring() const {
    return static_cast<double>(options_.points) * static_cast<double>(data_.count);
  }

  void note_arrival(const Stop& stop, const Sums& sums) {
    macs_ratio_ = stop.macs_ratio, loss_ = sums.mean_loss();
  }
  void report_choosing() {
    const double expected = expected_choosing();
    report(std::min(ran_, expected) / (expected + expected_measuring()), false);
  }
  void report_measuring(double part) {
    const double measuring = expected_measuring();
    report((ran_ + part * measuring) / (ran_ + measuring), true);
  }
  void report(double share, bool measuring) {
    share_ = std::max(share_, share);
    if (!options_.progress) return;
    options_.progress({.share = share_, .measuring = measuring, .macs_ratio = macs_ratio_, .loss = loss_});
  }

  const Model& model_;
  const LabelledImages& data_;
  const TuneOptions& options_;
  Session session_;
  Result result_;
  double step_;  ///< change of the MAC ratio that a step aims at
  std::vector<Batch> drawn_;
  std::vector<double> weights_;
  double ran_ = 0;                    ///< drawn images, so often as each one was
  double share_ = 0;                  ///< of the work, as reported last
  double macs_ratio_ = 1, loss_ = 0;  ///< of the last step
};

void check_range(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) fail("tune: {} {}; expected {} to {}", value, what, low, high);
}

}  // namespace

std::vector<OperatingPoint> tune(const Model& model, const LabelledImages& data, const TuneOptions& options) {
  if (!model.spec.has_head())
    fail("tune: a backbone without a classifier (0 classes) has no accuracy; expected a network with one");
  if (!model.spec.arch.is_dynamic())
    fail("tune: {} is a static network, which has no thresholds", model.spec.arch.name);
  check_range("points", options.points, 2, 100);
  check_range("images that decide", options.images, 1, 1 << 20);
  check_range("images per run", options.batch, 1, 4096);
  if (data.count < 1 || !data.read) fail("tune: a set without images; expected labelled ones");
  return Tuner(model, data, options).run();
}

std::string few_images_warning(int64_t images) {
  constexpr int64_t kFewImages = 100;
  if (images >= kFewImages) return "";
  const double error = 0.5 / std::sqrt(static_cast<double>(std::max<int64_t>(images, 1)));
  return fmt::format(
      "top-1 of {} image{} has a standard error of up to {:.0f} %; thresholds want hundreds of images",
      images, images == 1 ? "" : "s", 100 * error);
}

}  // namespace lasnet
