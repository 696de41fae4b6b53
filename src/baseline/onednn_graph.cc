#include "baseline/onednn_graph.h"

#include <algorithm>
#include <numeric>

namespace lasnet::onednn {
namespace {

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;

using Type = dnnl::memory::data_type;

constexpr auto kF32 = Type::f32;

/// [G, O/G, I/G, k, k] or, ungrouped, [O, I, k, k], of the type that multiplies maps of this one.
Desc weight_desc(const ConvSpec& spec, Type map, bool packed) {
  int64_t groups = spec.groups, k = spec.kernel;
  const Type type = map == kF32 ? kF32 : Type::s8;
  if (groups == 1) {
    return {Dims{spec.out_channels, spec.in_channels, k, k}, type, packed ? Tag::any : Tag::oihw};
  }
  return {Dims{groups, spec.out_channels / groups, spec.in_channels / groups, k, k}, type,
          packed ? Tag::any : Tag::goihw};
}

void append(Activation activation, dnnl::post_ops& fused) {
  if (activation == Activation::none) return;
  fused.append_eltwise(
      1.0f,
      activation == Activation::relu ? dnnl::algorithm::eltwise_relu : dnnl::algorithm::eltwise_logistic,
      0.0f, 0.0f);
}

dnnl::post_ops post(Activation activation) {
  dnnl::post_ops fused;
  append(activation, fused);
  return fused;
}

dnnl::post_ops post_add_relu() {
  dnnl::post_ops fused;
  fused.append_sum(1.0f);
  append(Activation::relu, fused);
  return fused;
}

/// The graph's scratchpads share a slot, like maps.
dnnl::primitive_attr attributes(const dnnl::post_ops& fused = {}) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(fused);
  return attr;
}

constexpr int kEveryChannel = 1 << 1;  ///< oneDNN's mask of dimensions along which scales differ

/// oneDNN scales sums after adding the bias.
dnnl::primitive_attr byte_attributes(const Int8Layer& layer, float unit, const dnnl::post_ops& fused = {}) {
  std::vector<float> scales;
  for (const float multiplier : layer.multiplier) scales.push_back(multiplier / unit);
  dnnl::primitive_attr attr = attributes(fused);
  attr.set_output_scales(kEveryChannel, scales);
  return attr;
}

/// In units of the sums, from which oneDNN takes each input's `zero` itself.
std::vector<float> byte_bias(const Int8Layer& layer, int32_t zero = 0) {
  const size_t weights = layer.weight.data.size() / layer.bias.size();
  std::vector<float> bias;
  for (size_t o = 0; o < layer.bias.size(); ++o) {
    const auto begin = layer.weight.data.begin() + static_cast<ptrdiff_t>(o * weights);
    const auto sum = std::accumulate(begin, begin + static_cast<ptrdiff_t>(weights), 0);
    bias.push_back(layer.bias[o] / layer.multiplier[o] + static_cast<float>(zero * sum));
  }
  return bias;
}

}  // namespace

Graph::Graph(const GraphOptions& options) : options_(options) {}

Desc Graph::map_desc(const Dims& dims, Type type) const {
  return {dims, type, options_.layout == Layout::nhwc || type != kF32 ? Tag::nhwc : Tag::any};
}

dnnl::memory Graph::in_slot(const std::string& slot, const Desc& desc) {
  dnnl::memory memory(desc, engine_, DNNL_MEMORY_NONE);
  slots_[slot].bytes = std::max(slots_[slot].bytes, desc.get_size());
  slots_[slot].users.push_back(memory);
  return memory;
}

dnnl::memory Graph::laid_out(const dnnl::memory& x, const Desc& desc) {
  if (x.get_desc() == desc) return x;
  dnnl::memory y = in_slot("reordered", desc);
  dnnl::reorder::primitive_desc reorder(engine_, x.get_desc(), engine_, desc, attributes());
  add<dnnl::reorder>(reorder, {{DNNL_ARG_FROM, x}, {DNNL_ARG_TO, y}});
  return y;
}

dnnl::memory Graph::constant(const void* values, const Desc& given, const Desc& wanted) {
  constants_.emplace_back(static_cast<int64_t>((wanted.get_size() + sizeof(float) - 1) / sizeof(float)));
  dnnl::memory packed(wanted, engine_, constants_.back().data());
  dnnl::memory plain(given, engine_, const_cast<void*>(values));
  dnnl::reorder(plain, packed).execute(stream_, plain, packed);
  stream_.wait();
  return packed;
}

template <typename Primitive, typename PrimitiveDesc>
void Graph::add(const PrimitiveDesc& desc, std::unordered_map<int, dnnl::memory> arguments) {
  Desc scratchpad = desc.scratchpad_desc();
  if (scratchpad.get_size() > 0) arguments[DNNL_ARG_SCRATCHPAD] = in_slot("scratchpad", scratchpad);
  steps_.push_back({Primitive(desc), std::move(arguments)});
}

dnnl::memory Graph::input(const Dims& dims) {
  input_ = dnnl::memory({dims, kF32, Tag::nchw}, engine_, DNNL_MEMORY_NONE);
  return input_;
}

dnnl::convolution_forward::primitive_desc Graph::describe(const dnnl::memory& x, const ConvSpec& spec,
                                                          const Desc& y,
                                                          const dnnl::primitive_attr& attributes) const {
  const Type type = x.get_desc().data_type();
  Dims stride(2, spec.stride), dilation(2, spec.dilation - 1), padding(2, spec.padding());
  dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, options_.convolution,
                                       map_desc(x.get_desc().dims(), type), weight_desc(spec, type, true),
                                       Desc({spec.out_channels}, kF32, Tag::x), y, stride, dilation, padding,
                                       padding);
  return {desc, attributes, engine_};
}

void Graph::add_convolution(const dnnl::convolution_forward::primitive_desc& desc, const dnnl::memory& x,
                            const ConvSpec& spec, const void* weight, const std::vector<float>& bias,
                            const dnnl::memory& y) {
  const Desc given = weight_desc(spec, x.get_desc().data_type(), false);
  implementations_.insert(desc.impl_info_str());
  add<dnnl::convolution_forward>(desc,
                                 {{DNNL_ARG_SRC, laid_out(x, desc.src_desc())},
                                  {DNNL_ARG_WEIGHTS, constant(weight, given, desc.weights_desc())},
                                  {DNNL_ARG_BIAS, constant(bias.data(), desc.bias_desc(), desc.bias_desc())},
                                  {DNNL_ARG_DST, y}});
}

dnnl::memory Graph::convolve(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                             Activation activation, const std::string& slot) {
  Dims in = x.get_desc().dims();
  MapSize out = spec.output({in[2], in[3]});
  auto desc = describe(x, spec, map_desc({in[0], spec.out_channels, out.height, out.width}),
                       attributes(post(activation)));
  dnnl::memory y = in_slot(slot, desc.dst_desc());
  add_convolution(desc, x, spec, folded.weight.data.data(), folded.bias, y);
  return y;
}

void Graph::convolve_and_add(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                             const dnnl::memory& y) {
  add_convolution(describe(x, spec, y.get_desc(), attributes(post_add_relu())), x, spec,
                  folded.weight.data.data(), folded.bias, y);
}

dnnl::memory Graph::quantize(const dnnl::memory& x, float scale, int32_t zero, const std::string& slot) {
  dnnl::memory y = in_slot(slot, map_desc(x.get_desc().dims(), Type::u8));
  dnnl::primitive_attr attr = attributes();
  attr.set_output_scales(0, {scale});
  attr.set_zero_points(DNNL_ARG_DST, 0, {zero});
  add<dnnl::reorder>(dnnl::reorder::primitive_desc(engine_, x.get_desc(), engine_, y.get_desc(), attr),
                     {{DNNL_ARG_FROM, x}, {DNNL_ARG_TO, y}});
  return y;
}

dnnl::memory Graph::convolve(const dnnl::memory& x, const Int8Layer& layer, const ByteFormat& format,
                             const std::string& slot, int32_t zero) {
  const Dims in = x.get_desc().dims();
  const MapSize out = layer.spec.output({in[2], in[3]});
  dnnl::primitive_attr attr = byte_attributes(layer, format.unit);
  if (zero != 0) attr.set_zero_points(DNNL_ARG_SRC, 0, {zero});
  const auto desc = describe(
      x, layer.spec, map_desc({in[0], layer.spec.out_channels, out.height, out.width}, format.type), attr);
  dnnl::memory y = in_slot(slot, desc.dst_desc());
  add_convolution(desc, x, layer.spec, layer.weight.data.data(), byte_bias(layer, zero), y);
  return y;
}

dnnl::memory Graph::convolve_and_add(const dnnl::memory& x, const Int8Layer& layer, const ByteFormat& format,
                                     const dnnl::memory& y, const std::string& slot) {
  dnnl::post_ops fused;
  fused.append_sum(format.unit, 0, format.type);
  const Desc bytes = map_desc(y.get_desc().dims(), Type::u8);
  const auto desc = describe(x, layer.spec, bytes, byte_attributes(layer, 1, fused));
  const dnnl::memory result = format.type == Type::u8 ? y : in_slot(slot, bytes);
  add_convolution(desc, x, layer.spec, layer.weight.data.data(), byte_bias(layer), result);
  return result;
}

dnnl::memory Graph::to_floats(const dnnl::memory& x, const std::string& slot) {
  dnnl::memory y = in_slot(slot, {x.get_desc().dims(), kF32, Tag::nhwc});
  add<dnnl::reorder>(
      dnnl::reorder::primitive_desc(engine_, x.get_desc(), engine_, y.get_desc(), attributes()),
      {{DNNL_ARG_FROM, x}, {DNNL_ARG_TO, y}});
  return y;
}

void Graph::scale(const dnnl::memory& x, const dnnl::memory& gate) {
  dnnl::binary::desc desc(dnnl::algorithm::binary_mul, x.get_desc(), gate.get_desc(), x.get_desc());
  dnnl::binary::primitive_desc chosen(desc, attributes(), engine_);
  add<dnnl::binary>(chosen, {{DNNL_ARG_SRC_0, x}, {DNNL_ARG_SRC_1, gate}, {DNNL_ARG_DST, x}});
}

dnnl::memory Graph::pool(const dnnl::memory& x, dnnl::algorithm algorithm, const Dims& out,
                         const Dims& kernel, const Dims& stride, const Dims& padding,
                         const std::string& slot) {
  dnnl::pooling_forward::desc desc(dnnl::prop_kind::forward_inference, algorithm, x.get_desc(),
                                   map_desc(out, x.get_desc().data_type()), stride, kernel, padding, padding);
  dnnl::pooling_forward::primitive_desc chosen(desc, attributes(), engine_);
  dnnl::memory y = in_slot(slot, chosen.dst_desc());
  add<dnnl::pooling_forward>(chosen, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}});
  return y;
}

dnnl::memory Graph::max_pool(const dnnl::memory& x, const std::string& slot) {
  Dims in = x.get_desc().dims();
  return pool(x, dnnl::algorithm::pooling_max, {in[0], in[1], (in[2] + 1) / 2, (in[3] + 1) / 2}, {3, 3},
              {2, 2}, {1, 1}, slot);
}

dnnl::memory Graph::average_pool(const dnnl::memory& x, const std::string& slot) {
  Dims in = x.get_desc().dims();
  return pool(x, dnnl::algorithm::pooling_avg_exclude_padding, {in[0], in[1], 1, 1}, {in[2], in[3]}, {1, 1},
              {0, 0}, slot);
}

void Graph::classify(const dnnl::memory& x, const Tensor& weight, const Tensor& bias) {
  int64_t images = x.get_desc().dims()[0], classes = weight.shape[0], features = weight.shape[1];
  Dims weight_dims = {classes, features, 1, 1};
  Desc bias_desc({classes}, kF32, Tag::x), out({images, classes}, kF32, Tag::nc);
  dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_inference,
                                         Desc({images, features, 1, 1}, kF32, Tag::any),
                                         Desc(weight_dims, kF32, Tag::any), bias_desc, out);
  dnnl::inner_product_forward::primitive_desc chosen(desc, attributes(), engine_);
  output_ = dnnl::memory(out, engine_, DNNL_MEMORY_NONE);
  add<dnnl::inner_product_forward>(
      chosen, {{DNNL_ARG_SRC, laid_out(x, chosen.src_desc())},
               {DNNL_ARG_WEIGHTS,
                constant(weight.data.data(), Desc(weight_dims, kF32, Tag::oihw), chosen.weights_desc())},
               {DNNL_ARG_BIAS, constant(bias.data.data(), bias_desc, bias_desc)},
               {DNNL_ARG_DST, output_}});
}

void Graph::finish() {
  for (auto& [name, slot] : slots_) {
    slot.storage = AlignedBuffer(static_cast<int64_t>((slot.bytes + sizeof(float) - 1) / sizeof(float)));
    for (dnnl::memory& memory : slot.users) memory.set_data_handle(slot.storage.data(), stream_);
  }
}

void Graph::run(const float* input, float* output) {
  input_.set_data_handle(const_cast<float*>(input), stream_);  // oneDNN has no pointer to const
  output_.set_data_handle(output, stream_);
  for (const Step& step : steps_) step.primitive.execute(stream_, step.arguments);
  stream_.wait();
}

}  // namespace lasnet::onednn
