// How well a fit predicts, as JSON: the same of calibration and of validation.
#pragma once

#include "calibrate/fit.h"
#include "output.h"

namespace lasnet::cli {

inline Json quality_json(const FitQuality& quality) {
  return {{"points", quality.points},     {"mape", quality.mape},           {"rmspe", quality.rmspe},
          {"within_5", quality.within_5}, {"within_10", quality.within_10}, {"within_15", quality.within_15}};
}

}  // namespace lasnet::cli
