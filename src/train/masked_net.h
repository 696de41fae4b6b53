// The masked dense network: every pixel is computed and the block's body is multiplied by the mask M, so that
// the mask gets a gradient. On running statistics and with hard masks it is the same function as the sparse
// engine.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "lasnet/engine.h"
#include "lasnet/model.h"
#include "train/batch_norm.h"

namespace lasnet {

/// How a forward pass obtains its masks.
struct MaskPolicy {
  enum class Kind {
    dense,   ///< no masks: the static network
    sample,  ///< hard Gumbel-softmax (training)
    decide,  ///< logit0 >= logit1 (evaluation)
    full,    ///< every patch, as a leaf whose gradient says what the patch does
  };
  Kind kind = Kind::decide;
  double temperature = 1.0;      ///< of `sample`
  double noise_scale = 1.0;      ///< of `sample`
  Random* random = nullptr;      ///< noise of `sample`
  int64_t first = 0, total = 0;  ///< of `sample`: the images' place in the whole batch; 0: all of it
  bool straight_through_dilation = false;  ///< D carries a gradient
  const MaskSet* forced = nullptr;  ///< replaces decisions in the named blocks; constant within a patch
};

/// What one dynamic block decided.
struct BlockMasks {
  torch::Tensor pooled;            ///< what the masker sees, [N, Cin, rows, cols]
  torch::Tensor logit_difference;  ///< [N, 1, rows, cols]
  torch::Tensor perturbed;         ///< the same with the noise, if any, that the decision was made on
  torch::Tensor patches;           ///< decisions, [N, 1, rows, cols]; undefined if the mask was forced
  torch::Tensor mask;              ///< M [N, 1, H', W'], values 0 or 1
};

struct MaskedOutput {
  torch::Tensor logits;               ///< [N, classes]
  std::vector<BlockMasks> blocks;     ///< of the B dynamic blocks, in network order; empty if `dense`
  torch::Tensor rates;                ///< r [N, B], differentiable
  torch::Tensor dilated_rates;        ///< mean of D [N, B]
  std::vector<torch::Tensor> stages;  ///< output of each stage's last block
  torch::Tensor features;             ///< what the head reads [N, features]
};

struct NamedTensor {
  std::string name;  ///< torchvision's name
  torch::Tensor tensor;
};

/// A masker in the coordinates that it is trained in: it sees (pooled - mean) / sqrt(variance +
/// kNormEpsilon).
struct StandardisedMasker {
  torch::Tensor weight, bias;    ///< [2, Cin, 1, 1], [2]
  torch::Tensor mean, variance;  ///< [Cin]
};

class MaskedNet {
 public:
  /// Copies the weights to the device. With `standardise_maskers` a BatchNorm without parameters of its own
  /// stands before each masker; at first it changes nothing. Throws Error if they do not fit the spec.
  MaskedNet(const ModelSpec& spec, const Weights& weights, bool standardise_maskers = false,
            torch::Device device = torch::kCPU);
  MaskedNet(const MaskedNet&) = delete;
  MaskedNet& operator=(const MaskedNet&) = delete;
  MaskedNet(MaskedNet&&) = default;

  /// images: float32 [N, 3, H, W], normalised, preferably channels-last, on any device: they are copied to
  /// the network's, where the output is. In training BatchNorm takes its statistics from all pixels of the
  /// batch and updates the running ones.
  MaskedOutput forward(const torch::Tensor& images, const MaskPolicy& policy, bool training) const;

  /// What a batch weighs in running statistics that training updates; kNormMomentum at first. 1/k with the
  /// k-th of several batches gives their mean.
  void set_norm_momentum(double momentum) { norm_momentum_ = momentum; }
  /// Whose processes share the batches that BatchNorm takes its statistics of; null at first: a process has
  /// its own.
  void set_norm_world(World* world) { norm_world_ = world; }

  /// Passes on running statistics also measure what every BatchNorm sees, until adopt_norm_statistics().
  void measure_norm_statistics();
  /// What was measured becomes the running statistics. Scales and shifts move along: the function stays.
  void adopt_norm_statistics();

  const ModelSpec& spec() const { return spec_; }
  /// What the optimiser updates; the tensors alias the network's.
  const std::vector<NamedTensor>& parameters() const { return parameters_; }
  /// All values, parameters among them; they alias the network's too.
  std::vector<torch::Tensor> tensors() const;
  std::vector<std::string> tensor_names() const;
  bool is_masker(const std::string& parameter) const;
  /// Parameters and BatchNorm buffers as a model file has them: what stands before a masker is folded into
  /// it.
  Weights weights() const;
  /// All values as they are, for load().
  Weights state() const;
  /// Replaces all values in place. Throws Error if they are not those of this network.
  void load(const Weights& state);

  torch::Device device() const { return device_; }
  bool standardises_maskers() const { return standardise_maskers_; }
  /// Of a network that standardises its maskers; `block` counts dynamic blocks.
  void set_masker(size_t block, const StandardisedMasker& masker);
  /// Its masker goes on computing the same function, on inputs of these statistics [Cin].
  void set_masker_statistics(size_t block, const torch::Tensor& mean, const torch::Tensor& variance);
  /// The rate that each masker of a network that standardises them is to come to; part of the state. At first
  /// 1.
  std::vector<double> wanted_rates() const;
  void set_wanted_rates(const std::vector<double>& rates);
  /// Adds to logit0 - logit1 of a dynamic block.
  void shift_masker(size_t block, double difference);

 private:
  struct ConvNorm {
    ConvSpec spec;
    torch::Tensor weight;
    NormTensors norm;

    torch::Tensor forward(const torch::Tensor& x, const NormPolicy& policy) const;
  };
  struct SqueezeExcite {
    SePool pool = SePool::active;
    torch::Tensor fc1_weight, fc1_bias, fc2_weight, fc2_bias;

    /// z [N, C, H', W'] scaled; `mask` [N, 1, H', W'] or undefined: all pixels. The mean over active pixels
    /// is sum(M * z) / sum(M), so that M gets a gradient through it.
    torch::Tensor forward(const torch::Tensor& z, const torch::Tensor& mask) const;
  };
  struct Block {
    BlockSpec spec;
    std::vector<ConvNorm> body;
    std::optional<SqueezeExcite> squeeze_excite;
    std::optional<ConvNorm> projection;
    torch::Tensor masker_weight, masker_bias;
    torch::Tensor masker_mean, masker_variance;  ///< undefined without standardisation
  };

  torch::Tensor tensor(const std::string& name) const;
  ConvNorm conv_norm(const ConvSpec& spec) const;
  Block make_block(const BlockSpec& spec) const;
  Block& dynamic_block(size_t index);
  NormPolicy norm_policy(bool training) const {
    return {training, norm_momentum_, norm_world_, measures_norms_};
  }
  std::vector<NormTensors*> norms();
  BlockMasks decide(const Block& block, const torch::Tensor& x, const MaskPolicy& policy,
                    bool training) const;
  torch::Tensor run_block(const Block& block, const torch::Tensor& x, const MaskPolicy& policy, bool training,
                          MaskedOutput& output, std::vector<torch::Tensor>& dilated_rates) const;

  ModelSpec spec_;
  torch::Device device_;
  bool standardise_maskers_ = false;
  double norm_momentum_ = kNormMomentum;
  World* norm_world_ = nullptr;
  bool measures_norms_ = false;
  torch::Tensor wanted_rates_;  ///< [B]; undefined without standardisation
  std::vector<NamedTensor> state_;
  std::vector<NamedTensor> parameters_;
  ConvNorm stem_;
  std::vector<Block> blocks_;
  torch::Tensor head_weight_, head_bias_;
};

}  // namespace lasnet
