#include "train/oracle.h"

#include <algorithm>

#include "base/fail.h"
#include "train/losses.h"
#include "train/masked_net.h"
#include "train/torch_tensor.h"
#include "train/torch_threads.h"

namespace lasnet {
namespace {

void check_forced(const ModelSpec& spec, const MaskSet& masks) {
  for (const auto& [name, mask] : masks) {
    auto named = [&name = name](const BlockSpec& block) { return block.name == name && block.is_dynamic(); };
    if (std::ranges::none_of(spec.blocks, named))
      fail("forced masks: the network has no dynamic block {}", name);
  }
}

}  // namespace

OracleResult masked_dense_forward(const Model& model, const Tensor& input, const OracleOptions& options) {
  if (input.shape.size() != 4 || input.shape[1] != 3) {
    fail("oracle: expected an input of shape [N, 3, H, W], got {}", to_string(input.shape));
  }
  if (options.force_masks != nullptr) check_forced(model.spec, *options.force_masks);
  TorchThreads threads(options.threads);
  torch::NoGradGuard no_gradient;
  MaskedNet net(model.spec, model.weights);
  MaskPolicy policy{.kind = options.dense ? MaskPolicy::Kind::dense : MaskPolicy::Kind::decide,
                    .forced = options.force_masks};
  MaskedOutput output = net.forward(to_torch(input), policy, /*training=*/false);

  const CostAccount account(NetworkCost::macs(model.spec, {input.shape[2], input.shape[3]}));
  torch::Tensor ratios = account.network_ratios(output).to(torch::kFloat64);
  OracleResult result{.logits = from_torch(output.logits), .blocks = {}, .macs_ratios = {}};
  result.macs_ratios.assign(ratios.data_ptr<double>(), ratios.data_ptr<double>() + ratios.numel());
  auto block = output.blocks.begin();
  for (const BlockSpec& spec : model.spec.blocks) {
    if (!spec.is_dynamic() || options.dense) continue;
    result.blocks.push_back({.name = spec.name,
                             .mask = bytes_from_torch(block->mask.squeeze(1)),
                             .logit_difference = from_torch(block->logit_difference.squeeze(1))});
    ++block;
  }
  return result;
}

}  // namespace lasnet
