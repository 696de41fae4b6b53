// The plots of a report, made of its documents.
#pragma once

#include <string>
#include <vector>

#include "output.h"
#include "report/plot.h"

namespace lasnet::cli {

/// Plots that stand together.
struct Figure {
  std::string name;   ///< of its SVG file
  std::string title;  ///< above all of it, in that file
  std::string note;   ///< of axes that do not begin at zero; "" if all do
  std::vector<Plot> plots;
};

/// Of a stage, S by S: lines are predicted, points measured, and the chosen S is pointed out.
Figure prediction_figure(const Json& data);
/// Every measured block.
Figure scatter_figure(const Json& data);
/// Hardware that is not here.
Figure elsewhere_figure(const Json& hardware, double rate);
Figure density_figure(const Json& data);
/// Accuracy against latency; without plots where no accuracy is known.
Figure accuracy_figure(const Json& data);
Figure granularity_figure(const Json& data);
/// Accuracy of trained networks; without plots where no sweep is recorded.
Figure sweep_figure(const Json& data);
Figure knob_figure(const Json& data);

/// All figures of a part's document.
std::vector<Figure> figures_of(const std::string& part, const Json& data);

}  // namespace lasnet::cli
