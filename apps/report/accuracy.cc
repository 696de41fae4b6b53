#include "accuracy.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "eval_data.h"
#include "image_options.h"
#include "input_options.h"

namespace lasnet::cli {
namespace {

Json recorded_json(const Setup& setup) {
  Json entries = Json::array();
  int64_t images = 0;
  const Json training = Json::parse(setup.model.training_json, nullptr, false);
  const auto add = [&](const char* phase, const char* network) {
    if (!training.is_object()) return;
    const auto results = training.find("results");
    if (results == training.end() || !results->is_object() || !results->contains(phase)) return;
    const Json& result = (*results)[phase];
    if (!result.contains("top1") || !result["top1"].is_number()) return;
    entries.push_back(
        {{"network", network}, {"top1", result["top1"]}, {"macs_ratio", result.value("macs_ratio", 1.0)}});
    images = result.value("images", images);
  };
  add("pretrain", "static");
  add("finetune", "sparse");
  return {
      {"source", entries.empty() ? "none: the images have no labels, and the model file records no accuracy"
                                 : "recorded in the model file by its training, on its validation images"},
      {"measured", false},
      {"images", images},
      {"entries", entries}};
}

}  // namespace

LabelledInputs load_labelled(const Setup& setup) {
  ImageFolder chosen;
  const size_t found = setup.labelled.items.size(),
               count = std::min(found, static_cast<size_t>(setup.repetitions.labelled));
  for (size_t i = 0; i < count; ++i) chosen.items.push_back(setup.labelled.items[i * found / count]);
  InputOptions usual;
  if (setup.model.preprocessing.crop == 0) usual.size = static_cast<int>(setup.size.height);
  ThreadPool pool(setup.threads);
  LabelledInputs labelled;
  Samples samples = load_samples(
      chosen, {}, 0, count,
      {.preprocessing = apply(usual, setup.model.preprocessing), .decode = decode_options({})}, pool);
  for (Sample& sample : samples.read) {
    labelled.labels.push_back(sample.label);
    labelled.inputs.push_back(std::move(sample.input));
  }
  return labelled;
}

Accuracy accuracy_of(Session& session, const LabelledInputs& labelled, const RunOptions& options) {
  Accuracy accuracy;
  const auto count = static_cast<double>(labelled.inputs.size());
  for (size_t i = 0; i < labelled.inputs.size(); ++i) {
    const Result result = session.run(labelled.inputs[i], options);
    const auto best = std::max_element(result.logits.data.begin(), result.logits.data.end());
    accuracy.top1 += (best - result.logits.data.begin() == labelled.labels[i]) / count;
    accuracy.macs_ratio += result.trace.macs_ratio() / count;
  }
  return accuracy;
}

Json accuracy_json(const Setup& setup) {
  if (!setup.has_labels()) return recorded_json(setup);
  const LabelledInputs labelled = load_labelled(setup);
  Session session(setup.model, {.threads = setup.threads});
  Json entries = Json::array();
  for (const bool dense : {true, false}) {
    const Accuracy accuracy = accuracy_of(session, labelled, {.dense = dense, .record_masks = false});
    entries.push_back({{"network", dense ? "dense" : "sparse"},
                       {"top1", accuracy.top1},
                       {"macs_ratio", accuracy.macs_ratio}});
  }
  return {{"source", "measured in this run, on the images' labels"},
          {"measured", true},
          {"images", labelled.inputs.size()},
          {"entries", entries}};
}

}  // namespace lasnet::cli
