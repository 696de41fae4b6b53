// Summaries of samples. An empty sample gives zeros.
#pragma once

#include <vector>

namespace lasnet {

double mean(const std::vector<double>& values);
/// Population standard deviation.
double deviation(const std::vector<double>& values);
double median(std::vector<double> values);

/// A sample's smallest value and its quartiles, interpolated linearly between order statistics (numpy's
/// default).
struct Quartiles {
  double min = 0, q1 = 0, median = 0, q3 = 0;
};
Quartiles quartiles(std::vector<double> values);

/// a[i] / b[i]: of measurements taken in pairs, so that what slows both leaves no trace.
std::vector<double> ratios(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace lasnet
