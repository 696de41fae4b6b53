#include "recorded_sweep.h"

#include "base/fail.h"
#include "base/file.h"

namespace lasnet::cli {
namespace {

constexpr uint64_t kMaxBytes = 1 << 24;

/// A row's value if it `fits`.
template <typename Fits>
Json value_of(const Json& row, const char* key, const std::string& where, const char* expected,
              const Fits& fits) {
  const auto found = row.find(key);
  if (found == row.end() || !fits(*found)) fail("{}.{}: expected {}", where, key, expected);
  return *found;
}

Json row_of(const Json& row, const std::string& where) {
  if (!row.is_object()) fail("{}: expected an object", where);
  Json known = Json::object();
  const auto is_text = [](const Json& value) { return value.is_string(); };
  const auto is_number = [](const Json& value) { return value.is_number(); };
  const auto is_number_or_null = [](const Json& value) { return value.is_number() || value.is_null(); };
  for (const char* key : {"kind", "name", "granularity"})
    known[key] = value_of(row, key, where, "a string", is_text);
  for (const char* key : {"top1", "images", "macs_ratio"})
    known[key] = value_of(row, key, where, "a number", is_number);
  known["measured_ms"] = value_of(row, "measured_ms", where, "a number or null", is_number_or_null);
  return known;
}

}  // namespace

Json read_recorded_sweep(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  const Json document = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!document.is_object() || !document.contains("lasnet_sweep") || !document.contains("rows") ||
      !document["rows"].is_array() || document["rows"].empty())
    fail("{}: not the sweep.json of a lasnet sweep", path);
  Json rows = Json::array();
  for (const Json& row : document["rows"])
    rows.push_back(row_of(row, fmt::format("{}: rows[{}]", path, rows.size())));
  const Json processor = document.contains("processor") ? document["processor"] : Json("");
  return {{"source", path}, {"processor", processor.is_string() ? processor : Json("")}, {"rows", rows}};
}

}  // namespace lasnet::cli
