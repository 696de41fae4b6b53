// Stands in for onednn.cc where oneDNN was not found.
#include "base/fail.h"
#include "baseline/baseline.h"

namespace lasnet {

std::vector<std::unique_ptr<Baseline>> make_onednn_baselines(const Model&, const BaselineShape&, int,
                                                             Precision) {
  fail(
      "baseline onednn: this build has no oneDNN. Install it (Debian: libdnnl-dev; scripts/install-deps.sh "
      "does) and build again with -DLASNET_ONEDNN=ON");
}

}  // namespace lasnet
