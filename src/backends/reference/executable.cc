// The masked dense network in plain loops: computes everything, then multiplies by the mask. The oracle.
#include "engine/executable.h"

#include "backends/reference/kernels.h"
#include "backends/reference/mask.h"
#include "base/stopwatch.h"
#include "engine/check_finite.h"
#include "engine/fold.h"
#include "engine/trace.h"

namespace lasnet {
namespace {

struct ReferenceConv {
  FoldedConv folded;
  ConvSpec spec;

  Tensor operator()(const Tensor& x) const {
    return reference::conv2d(x, folded.weight, folded.bias, spec.stride, spec.groups, spec.dilation);
  }
};

class ReferenceExecutable final : public Executable {
 public:
  explicit ReferenceExecutable(const Model& model)
      : Executable(model.spec, Backend::reference, Isa::scalar), weights_(model.weights) {}

  std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const override;

  ReferenceConv conv(const ConvSpec& spec) const { return {fold(spec, weights_), spec}; }
  const Tensor& weight(const std::string& name) const { return weights_.at(name); }

 private:
  Weights weights_;
};

/// One block of one run.
struct ReferenceBlock {
  const ReferenceExecutable& executable;
  const BlockSpec& spec;
  const BlockGeometry& geometry;
  const RunRequest& request;
  size_t index;

  Tensor differences = {};
  reference::BlockMask mask = {};

  void decide(const Tensor& x) {
    mask = reference::full_mask(request, index);
    if (request.dense || !spec.is_dynamic()) return;
    differences = reference::masker_differences(x, geometry.grid, spec.stride,
                                                executable.weight(spec.masker_name() + ".weight"),
                                                executable.weight(spec.masker_name() + ".bias"));
    mask = reference::decide_mask(request, index, differences.data);
  }

  Tensor squeeze_excite(const Tensor& z) const {
    const std::string& name = spec.squeeze_excite->name;
    bool dense = spec.squeeze_excite->pool == SePool::dense;
    return reference::squeeze_excite(
        z, dense ? ByteTensor(mask.mask.shape, 1) : mask.mask,
        {executable.weight(name + ".fc1.weight"), executable.weight(name + ".fc1.bias"),
         executable.weight(name + ".fc2.weight"), executable.weight(name + ".fc2.bias")});
  }

  Tensor run(const Tensor& x) {
    decide(x);
    Tensor body = x;
    for (size_t i = 0; i < spec.convs.size(); ++i) {
      body = executable.conv(spec.convs[i])(body);
      if (i + 1 < spec.convs.size()) reference::relu(body);
      if (i == 1 && spec.squeeze_excite) body = squeeze_excite(body);
    }
    return reference::masked_residual(spec.projection ? executable.conv(*spec.projection)(x) : x, body,
                                      mask.mask);
  }
};

class ReferenceRunner final : public Runner {
 public:
  explicit ReferenceRunner(std::shared_ptr<const ReferenceExecutable> executable)
      : executable_(std::move(executable)) {}

  void run(const RunRequest& request, Result& result) override {
    Stopwatch watch(request.time);
    const ModelSpec& spec = executable_->spec();
    TraceBuilder trace(spec, request, result.trace);
    Tensor x = executable_->conv(spec.stem)(reference::nchw_to_nhwc(*request.input));
    reference::relu(x);
    if (request.check_finite) check_finite(spec.stem.name, x);
    if (spec.stem_pool) x = reference::max_pool(x);
    for (size_t i = 0; i < spec.blocks.size(); ++i) {
      return_map(x, i, request);
      request.check_stop();
      Stopwatch block_watch(request.time);
      ReferenceBlock block{*executable_, spec.blocks[i], request.geometry.blocks[i], request, i};
      x = block.run(x);
      if (request.check_finite) check_finite(spec.blocks[i].name, x);
      trace.add_block({.patches = block.mask.patches,
                       .differences = block.differences.data,
                       .active_counts = block.mask.active_counts,
                       .dilated_counts = block.mask.dilated_counts,
                       .seconds = block_watch.seconds()});
    }
    return_map(x, spec.blocks.size(), request);
    result.logits = Tensor({request.batch(), 0});
    if (spec.has_head()) result.logits = run_head(x, request);
    trace.finish(watch.seconds());
  }

 private:
  Tensor run_head(const Tensor& x, const RunRequest& request) const {
    const std::string& name = executable_->spec().head_name;
    Tensor logits = reference::linear(reference::average_pool(x), executable_->weight(name + ".weight"),
                                      executable_->weight(name + ".bias"));
    if (request.check_finite) check_finite(name, logits);
    return logits;
  }

  static void return_map(const Tensor& x, size_t blocks, const RunRequest& request) {
    Tensor* to = request.feature(blocks);
    if (to != nullptr) *to = request.feature_layout == MapLayout::nchw ? reference::nhwc_to_nchw(x) : x;
  }

  std::shared_ptr<const ReferenceExecutable> executable_;
};

std::unique_ptr<Runner> ReferenceExecutable::make_runner(std::shared_ptr<Executor>) const {
  return std::make_unique<ReferenceRunner>(
      std::static_pointer_cast<const ReferenceExecutable>(shared_from_this()));
}

}  // namespace

std::shared_ptr<const Executable> make_reference_executable(const Model& model) {
  return std::make_shared<ReferenceExecutable>(model);
}

}  // namespace lasnet
