#include "operating_points_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/escape.h"
#include "operating_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr size_t kProfileBytes = 24;  ///< of a profile's name, above its column

/// What thresholds have in common, for people.
std::string range_of(const std::vector<float>& values) {
  const auto [least, most] = std::ranges::minmax(values);
  return least == most ? fmt::format("{:.3g}", least) : fmt::format("{:.3g} to {:.3g}", least, most);
}

}  // namespace

Json operating_points_json(const std::vector<OperatingPoint>& points) {
  Json list = Json::array();
  for (const OperatingPoint& point : points) list.push_back(operating_point_json(point));
  return list;
}

std::string operating_points_table(const std::vector<OperatingPoint>& points) {
  std::vector<std::string> headers = {">MACs", ">top-1"};
  for (const auto& [profile, ms] : points.front().predicted_ms)
    headers.push_back(">on " + excerpt(profile, kProfileBytes));
  // What is the same in every row says nothing.
  const auto range = [](const OperatingPoint& point) { return range_of(point.thresholds); };
  const bool differ = std::ranges::any_of(
      points, [&](const OperatingPoint& point) { return range(point) != range(points.front()); });
  if (differ) headers.emplace_back("thresholds");
  Table table(headers);
  for (const OperatingPoint& point : points) {
    std::vector<std::string> row = {format_percent(point.macs_ratio), format_percent(point.top1)};
    for (const auto& [profile, ms] : points.front().predicted_ms) {
      const auto found = point.predicted_ms.find(profile);
      row.push_back(found == point.predicted_ms.end() ? "-" : format_ms(found->second));
    }
    if (differ) row.push_back(range(point));
    table.add_row(std::move(row));
  }
  return table.to_string(2);
}

}  // namespace lasnet::cli
