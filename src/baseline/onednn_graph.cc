#include "baseline/onednn_graph.h"

#include <algorithm>

namespace lasnet::onednn {
namespace {

using Dims = dnnl::memory::dims;
using Desc = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;

constexpr auto kF32 = dnnl::memory::data_type::f32;

/// [G, O/G, I/G, k, k] or, ungrouped, [O, I, k, k].
Desc weight_desc(const ConvSpec& spec, bool packed) {
  int64_t groups = spec.groups, k = spec.kernel;
  if (groups == 1) {
    return {Dims{spec.out_channels, spec.in_channels, k, k}, kF32, packed ? Tag::any : Tag::oihw};
  }
  return {Dims{groups, spec.out_channels / groups, spec.in_channels / groups, k, k}, kF32,
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

}  // namespace

Graph::Graph(const GraphOptions& options) : options_(options) {}

Desc Graph::map_desc(const Dims& dims) const {
  return {dims, kF32, options_.layout == Layout::nhwc ? Tag::nhwc : Tag::any};
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

dnnl::memory Graph::constant(const Tensor& values, const Desc& given, const Desc& wanted) {
  constants_.emplace_back(static_cast<int64_t>((wanted.get_size() + sizeof(float) - 1) / sizeof(float)));
  dnnl::memory packed(wanted, engine_, constants_.back().data());
  dnnl::memory plain(given, engine_, const_cast<float*>(values.data.data()));
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
                                                          const Desc& y, const dnnl::post_ops& fused) const {
  Dims stride(2, spec.stride), dilation(2, spec.dilation - 1), padding(2, spec.padding());
  dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, options_.convolution,
                                       map_desc(x.get_desc().dims()), weight_desc(spec, true),
                                       Desc({spec.out_channels}, kF32, Tag::x), y, stride, dilation, padding,
                                       padding);
  return {desc, attributes(fused), engine_};
}

void Graph::add_convolution(const dnnl::convolution_forward::primitive_desc& desc, const dnnl::memory& x,
                            const ConvSpec& spec, const FoldedConv& folded, const dnnl::memory& y) {
  Tensor bias({spec.out_channels});
  bias.data = folded.bias;
  implementations_.insert(desc.impl_info_str());
  add<dnnl::convolution_forward>(
      desc, {{DNNL_ARG_SRC, laid_out(x, desc.src_desc())},
             {DNNL_ARG_WEIGHTS, constant(folded.weight, weight_desc(spec, false), desc.weights_desc())},
             {DNNL_ARG_BIAS, constant(bias, desc.bias_desc(), desc.bias_desc())},
             {DNNL_ARG_DST, y}});
}

dnnl::memory Graph::convolve(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                             Activation activation, const std::string& slot) {
  Dims in = x.get_desc().dims();
  MapSize out = spec.output({in[2], in[3]});
  auto desc =
      describe(x, spec, map_desc({in[0], spec.out_channels, out.height, out.width}), post(activation));
  dnnl::memory y = in_slot(slot, desc.dst_desc());
  add_convolution(desc, x, spec, folded, y);
  return y;
}

void Graph::convolve_and_add(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                             const dnnl::memory& y) {
  add_convolution(describe(x, spec, y.get_desc(), post_add_relu()), x, spec, folded, y);
}

void Graph::scale(const dnnl::memory& x, const dnnl::memory& gate) {
  dnnl::binary::desc desc(dnnl::algorithm::binary_mul, x.get_desc(), gate.get_desc(), x.get_desc());
  dnnl::binary::primitive_desc chosen(desc, attributes(), engine_);
  add<dnnl::binary>(chosen, {{DNNL_ARG_SRC_0, x}, {DNNL_ARG_SRC_1, gate}, {DNNL_ARG_DST, x}});
}

dnnl::memory Graph::pool(const dnnl::memory& x, dnnl::algorithm algorithm, const Dims& out,
                         const Dims& kernel, const Dims& stride, const Dims& padding,
                         const std::string& slot) {
  dnnl::pooling_forward::desc desc(dnnl::prop_kind::forward_inference, algorithm, x.get_desc(), map_desc(out),
                                   stride, kernel, padding, padding);
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
      chosen,
      {{DNNL_ARG_SRC, laid_out(x, chosen.src_desc())},
       {DNNL_ARG_WEIGHTS, constant(weight, Desc(weight_dims, kF32, Tag::oihw), chosen.weights_desc())},
       {DNNL_ARG_BIAS, constant(bias, bias_desc, bias_desc)},
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
