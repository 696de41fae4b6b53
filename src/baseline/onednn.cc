// The baseline that is hardest to beat on x86: the static network as one chain of oneDNN primitives.
#include <omp.h>

#include "base/fail.h"
#include "base/stopwatch.h"
#include "baseline/baseline.h"
#include "baseline/onednn_graph.h"

namespace lasnet {
namespace {

using onednn::Activation;
using onednn::ByteFormat;
using onednn::Graph;
using onednn::GraphOptions;
using onednn::Layout;

/// z * sigmoid(fc2(ReLU(fc1(mean of z)))), in place.
void add_squeeze_excite(Graph& graph, const SqueezeExciteSpec& spec, const Weights& weights,
                        const dnnl::memory& z) {
  auto linear = [&](const char* part, const dnnl::memory& x, int in, int out, Activation activation) {
    std::string name = spec.name + "." + part;
    ConvSpec conv{name, "", in, out, 1, 1, 1};
    return graph.convolve(x, conv, {weights.at(name + ".weight"), weights.at(name + ".bias").data},
                          activation, part);
  };
  dnnl::memory gate = graph.average_pool(z, "squeezed");
  gate = linear("fc1", gate, spec.channels, spec.squeeze_channels, Activation::relu);
  gate = linear("fc2", gate, spec.squeeze_channels, spec.channels, Activation::sigmoid);
  graph.scale(z, gate);
}

/// A body's convolutions but the last, then the last into the shortcut. Two trunk slots suffice: an identity
/// block works in place, a projecting one moves to the other.
dnnl::memory add_block(Graph& graph, const BlockSpec& block, const Weights& weights, const dnnl::memory& x,
                       int& trunk) {
  dnnl::memory inner = x;
  for (size_t i = 0; i + 1 < block.convs.size(); ++i) {
    inner = graph.convolve(inner, block.convs[i], fold(block.convs[i], weights), Activation::relu,
                           fmt::format("inner{}", i));
  }
  if (block.squeeze_excite) add_squeeze_excite(graph, *block.squeeze_excite, weights, inner);
  dnnl::memory y = x;
  if (block.projection) {
    trunk = 1 - trunk;
    y = graph.convolve(x, *block.projection, fold(*block.projection, weights), Activation::none,
                       fmt::format("trunk{}", trunk));
  }
  graph.convolve_and_add(inner, block.convs.back(), fold(block.convs.back(), weights), y);
  return y;
}

void add_network(Graph& graph, const Model& model, const BaselineShape& shape) {
  const ModelSpec& spec = model.spec;
  int trunk = 0;
  dnnl::memory x = graph.input({shape.batch, 3, shape.image.height, shape.image.width});
  x = graph.convolve(x, spec.stem, fold(spec.stem, model.weights), Activation::relu,
                     spec.stem_pool ? "stem" : "trunk0");
  if (spec.stem_pool) x = graph.max_pool(x, "trunk0");
  for (const BlockSpec& block : spec.blocks) x = add_block(graph, block, model.weights, x, trunk);
  graph.classify(graph.average_pool(x, "pooled"), model.weights.at(spec.head_name + ".weight"),
                 model.weights.at(spec.head_name + ".bias"));
  graph.finish();
}

/// The bytes of a projection's output have a sign until the block's body is added. So they are twice as
/// coarse.
constexpr ByteFormat kShortcutFormat{dnnl::memory::data_type::s8, 2};

dnnl::memory add_block(Graph& graph, const Int8Block& block, const dnnl::memory& x, int& trunk) {
  dnnl::memory inner = x;
  for (size_t i = 0; i + 1 < block.convs.size(); ++i)
    inner = graph.convolve(inner, block.convs[i], {}, fmt::format("inner{}", i));
  if (block.projection) trunk = 1 - trunk;
  const std::string slot = fmt::format("trunk{}", trunk);
  if (!block.projection) return graph.convolve_and_add(inner, block.convs.back(), {}, x, slot);
  const dnnl::memory y = graph.convolve(x, *block.projection, kShortcutFormat, slot);
  return graph.convolve_and_add(inner, block.convs.back(), kShortcutFormat, y, slot);
}

/// The classifier as it reads means of bytes that are floats.
Tensor float_weight(const Int8Layer& head) {
  Tensor weight({head.spec.out_channels, head.spec.in_channels});
  for (int64_t i = 0; i < weight.size(); ++i) {
    const float multiplier = head.multiplier[i / head.spec.in_channels] * kHeadFraction;
    weight.data[i] = multiplier * static_cast<float>(head.weight.data[i]);
  }
  return weight;
}

void add_int8_network(Graph& graph, const Model& model, const BaselineShape& shape) {
  const ModelSpec& spec = model.spec;
  const Int8Network network = make_int8_network(model);
  const auto zero = static_cast<int32_t>(network.input_zero);
  int trunk = 0;
  dnnl::memory x = graph.input({shape.batch, 3, shape.image.height, shape.image.width});
  x = graph.quantize(x, network.input_inverse_scale, zero, "image");
  x = graph.convolve(x, network.stem, {}, spec.stem_pool ? "stem" : "trunk0", zero);
  if (spec.stem_pool) x = graph.max_pool(x, "trunk0");
  for (const Int8Block& block : network.blocks) {
    if (block.squeeze_excite) {
      fail(
          "baseline onednn: {} has Squeeze-and-Excitation, which is left out there in int8; use precision "
          "fp32",
          spec.arch.name);
    }
    x = add_block(graph, block, x, trunk);
  }
  Tensor bias({spec.arch.classes});
  bias.data = network.head->bias;
  const dnnl::memory means = graph.average_pool(graph.to_floats(x, "floats"), "pooled");
  graph.classify(means, float_weight(*network.head), bias);
  graph.finish();
}

std::string binding() {
  switch (omp_get_proc_bind()) {
    case omp_proc_bind_false:
      return "not bound to processors";
    case omp_proc_bind_master:
      return "bound to the first thread's place";
    case omp_proc_bind_close:
      return "bound closely";
    case omp_proc_bind_spread:
      return "bound spread";
    default:
      return "bound to processors";
  }
}

class OnednnBaseline final : public Baseline {
 public:
  OnednnBaseline(const Model& model, const BaselineShape& shape, int threads, Precision precision,
                 const GraphOptions& options)
      : shape_(shape), classes_(model.spec.arch.classes), threads_(threads), layout_(options.layout) {
    use_threads();
    graph_ = std::make_unique<Graph>(options);
    if (precision == Precision::int8) {
      add_int8_network(*graph_, model, shape);
    } else {
      add_network(*graph_, model, shape);
    }
  }

  std::string name() const override { return "oneDNN"; }

  std::string version() const override {
    const dnnl_version_t* version = dnnl_version();
    return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
  }

  std::string note() const override {
    return fmt::format("{} activations; {}; {} OpenMP thread{}, {}",
                       layout_ == Layout::nhwc ? "nhwc" : "blocked", fmt::join(implementations(), ", "),
                       threads_, threads_ == 1 ? "" : "s", binding());
  }

  BaselineRun run(const Tensor& input) override {
    const Shape expected = {shape_.batch, 3, shape_.image.height, shape_.image.width};
    if (input.shape != expected) {
      fail("baseline onednn: input of shape {}; it was built for {}", to_string(input.shape),
           to_string(expected));
    }
    use_threads();
    Stopwatch watch;
    BaselineRun result{Tensor({shape_.batch, classes_}), 0};
    try {
      graph_->run(input.data.data(), result.logits.data.data());
    } catch (const dnnl::error& error) {
      fail("baseline onednn: {} while running", error.what());
    }
    result.seconds = watch.seconds();
    return result;
  }

  const std::set<std::string>& implementations() const { return graph_->implementations(); }

 private:
  /// OpenMP keeps the number per calling thread.
  void use_threads() const { omp_set_num_threads(threads_); }

  BaselineShape shape_;
  int64_t classes_;
  int threads_;
  Layout layout_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace

std::vector<std::unique_ptr<Baseline>> make_onednn_baselines(const Model& model, const BaselineShape& shape,
                                                             int threads, Precision precision) {
  if (precision == Precision::int8 && !model.quantization)
    fail("baseline onednn: {} has no int8 weights; quantize it first, or use fp32", model.spec.arch.name);
  try {
    auto make = [&](Layout layout, dnnl::algorithm convolution) {
      return std::make_unique<OnednnBaseline>(model, shape, threads, precision,
                                              GraphOptions{layout, convolution});
    };
    std::vector<std::unique_ptr<Baseline>> variants;
    variants.push_back(make(Layout::nhwc, dnnl::algorithm::convolution_direct));
    if (precision == Precision::int8) return variants;
    auto blocked = make(Layout::preferred, dnnl::algorithm::convolution_direct);
    auto automatic = make(Layout::preferred, dnnl::algorithm::convolution_auto);
    bool same = automatic->implementations() == blocked->implementations();
    variants.push_back(std::move(blocked));
    if (!same) variants.push_back(std::move(automatic));
    return variants;
  } catch (const dnnl::error& error) {
    fail("baseline onednn: {}: oneDNN refuses {} for {} images of {} x {}", error.what(),
         model.spec.arch.name, shape.batch, shape.image.height, shape.image.width);
  }
}

}  // namespace lasnet
