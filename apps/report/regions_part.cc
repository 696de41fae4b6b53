// Photographs with what every block computed of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <ostream>

#include "base/file.h"
#include "classes.h"
#include "jpeg.h"
#include "lasnet/geometry.h"
#include "parts.h"

namespace lasnet::cli {
namespace {

constexpr int kQuality = 84;

/// Two decimals, in as few digits: the page holds thousands of them.
double short_logit(double value) { return std::round(100 * value) / 100; }

/// Decisions as a text of 0 and 1, patch by patch.
std::string mask_text(const PatchGrid& grid, const ByteTensor& mask) {
  std::string text;
  for (const uint8_t patch : patches_of_mask(grid, mask.data)) text += patch != 0 ? '1' : '0';
  return text;
}

Json block_json(const BlockSpec& spec, const BlockGeometry& geometry, const BlockTrace& trace,
                double dense_ms, double sparse_ms) {
  const BlockMacs macs = block_macs(spec, geometry);
  Json logits = Json::array();
  for (const float difference : trace.logit_difference.data) logits.push_back(short_logit(difference));
  return {{"name", spec.name},
          {"stage", spec.stage + 1},
          {"granularity", granularity_json(spec.granularity)},
          {"patch", geometry.grid.granularity},
          {"rows", spec.is_dynamic() ? geometry.grid.rows() : 1},
          {"cols", spec.is_dynamic() ? geometry.grid.cols() : 1},
          {"map", {geometry.output.height, geometry.output.width}},
          {"rate", trace.rate},
          {"dilated_rate", trace.dilated_rate},
          {"macs", trace.macs},
          {"always_macs", macs.terms().always},
          {"static_macs", trace.static_macs},
          {"dense_ms", dense_ms},
          {"sparse_ms", sparse_ms},
          {"mask", spec.is_dynamic() ? mask_text(geometry.grid, trace.mask) : "1"},
          {"logits", logits}};
}

std::vector<std::vector<double>> block_times(const std::vector<Trace>& traces) {
  std::vector<std::vector<double>> ms(traces.front().blocks.size());
  for (const Trace& trace : traces) {
    for (size_t b = 0; b < ms.size(); ++b) ms[b].push_back(1e3 * trace.blocks[b].seconds);
  }
  return ms;
}

Json classes_json(const Model& model, const Tensor& logits) {
  constexpr int kTop = 3;
  const std::vector<double> probabilities = softmax(logits.data);
  Json top = Json::array();
  for (const int64_t index : top_classes(logits.data.data(), logits.size(), kTop)) {
    top.push_back(
        {{"class", class_name(model, index)}, {"probability", probabilities[static_cast<size_t>(index)]}});
  }
  return top;
}

Json photograph_json(const Setup& setup, const Photograph& photograph, Session& session,
                     const std::string& picture, const Told& told) {
  const ModelSpec& spec = setup.model.spec;
  const NetworkGeometry geometry = network_geometry(spec, photograph.seen);
  std::vector<Trace> dense_traces, sparse_traces;
  Result of_sparse;
  const std::vector<Turns> turns = run_in_turn(
      {{"dense", &session, {.dense = true, .record_masks = false}}, {"sparse", &session, {}}},
      {photograph.whole}, setup.repetitions.photograph, told, [&](size_t contender, const Result& result) {
        (contender == 0 ? dense_traces : sparse_traces).push_back(result.trace);
        if (contender == 1) of_sparse = result;
      });
  const auto dense_ms = block_times(dense_traces), sparse_ms = block_times(sparse_traces);
  Json blocks = Json::array();
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    blocks.push_back(block_json(spec.blocks[b], geometry.blocks[b], of_sparse.trace.blocks[b],
                                median(dense_ms[b]), median(sparse_ms[b])));
  }
  return {{"file", photograph.name},
          {"picture", picture},
          {"width", photograph.shown.width},
          {"height", photograph.shown.height},
          {"input", {photograph.seen.height, photograph.seen.width}},
          {"classes", classes_json(setup.model, of_sparse.logits)},
          {"macs_ratio", of_sparse.trace.macs_ratio()},
          {"static_macs", of_sparse.trace.static_macs},
          {"dense_ms", median(turns[0].ms)},
          {"sparse_ms", median(turns[1].ms)},
          {"speedup", median(ratios(turns[0].ms, turns[1].ms))},
          {"blocks", blocks}};
}

}  // namespace

Json measure_regions(const Setup& setup, const Told& told) {
  namespace fs = std::filesystem;
  create_directory((fs::path(setup.options.output) / "pictures").string());
  Session session(setup.model, {});
  Json photographs = Json::array();
  const auto count = static_cast<double>(setup.photographs.size());
  for (size_t i = 0; i < setup.photographs.size(); ++i) {
    const Photograph& photograph = setup.photographs[i];
    const std::string picture = fmt::format("pictures/{}.jpg", i + 1);
    const std::string jpeg = encode_jpeg(photograph.shown, kQuality);
    write_file_atomically((fs::path(setup.options.output) / picture).string(),
                          [&](std::ostream& out) { out << jpeg; });
    photographs.push_back(
        photograph_json(setup, photograph, session, picture, [&](double share, const std::string&) {
          told((static_cast<double>(i) + share) / count, photograph.name);
        }));
  }
  return {{"command", fmt::format("lasnet run {} PHOTOGRAPH --no-crop --overlay OUT --repeat {}",
                                  setup.options.model, setup.repetitions.photograph)},
          {"threads", 1},
          {"repeat", setup.repetitions.photograph},
          {"found", setup.found},
          {"photographs", photographs}};
}

}  // namespace lasnet::cli
