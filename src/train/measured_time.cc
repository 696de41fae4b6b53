#include "train/measured_time.h"

#include <algorithm>

#include "base/fail.h"
#include "base/statistics.h"
#include "base/stopwatch.h"
#include "lasnet/engine.h"

namespace lasnet {
namespace {

/// Pairs of runs that are counted: so many images, within these bounds.
constexpr int64_t kTimedImages = 64, kFewestPairs = 5;

/// The images from `first` on, around their end.
Tensor batch_of(const std::vector<Tensor>& images, size_t first, int64_t count) {
  Shape shape = images.front().shape;
  shape[0] = count;
  Tensor batch(shape);
  auto out = batch.data.begin();
  for (size_t i = first; i < first + static_cast<size_t>(count); ++i)
    out = std::ranges::copy(images[i % images.size()].data, out).out;
  return batch;
}

double milliseconds_of(Session& session, const Tensor& batch, bool dense) {
  const Stopwatch watch;
  (void)session.run(batch, {.dense = dense, .record_masks = false});
  return 1e3 * watch.seconds();
}

}  // namespace

std::optional<MeasuredTime> measure_time(const Model& model, const std::vector<Tensor>& images,
                                         const Deployment& deployment, const std::function<bool()>& proceed) {
  if (images.empty()) fail("images: none to time the network on; expected at least one");
  const LatencyQuery& query = deployment.query;
  Session session(model, {.threads = query.threads, .precision = query.precision});
  const int64_t pairs = std::max(kTimedImages / query.batch, kFewestPairs);
  std::vector<double> dense_ms, masked_ms;
  // The first pair warms caches and memory up.
  for (int64_t pair = -1; pair < pairs; ++pair) {
    if (!proceed()) return std::nullopt;
    const Tensor batch = batch_of(images, static_cast<size_t>((pair + 1) * query.batch), query.batch);
    const double dense = milliseconds_of(session, batch, true),
                 masked = milliseconds_of(session, batch, false);
    if (pair < 0) continue;
    dense_ms.push_back(dense);
    masked_ms.push_back(masked);
  }
  return MeasuredTime{.static_ms = median(dense_ms), .dynamic_ms = median(masked_ms)};
}

}  // namespace lasnet
