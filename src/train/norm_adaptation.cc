#include "train/norm_adaptation.h"

#include "train/autocast.h"

namespace lasnet {

bool adapt_norms(MaskedNet& net, MaskPolicy::Kind masks, BatchStream batches, int64_t images,
                 bool mixed_precision, const std::function<bool()>& proceed) {
  const torch::NoGradGuard no_gradient;
  const AutocastScope precision(mixed_precision);
  net.measure_norm_statistics();
  int64_t seen = 0;
  bool goes_on = true;
  for (int count = 1; seen < images; ++count) {
    const std::optional<Batch> batch = batches.next();
    goes_on = !batch || proceed();
    if (!batch || !goes_on) break;
    net.set_norm_momentum(1.0 / count);
    net.forward(batch->images, {.kind = masks}, /*training=*/false);
    seen += batch->size();
  }
  net.set_norm_momentum(kNormMomentum);
  net.adopt_norm_statistics();
  return goes_on;
}

}  // namespace lasnet
