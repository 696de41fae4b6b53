// A chain of oneDNN primitives over shared buffers, built once and run many times.
//
// Primitives may ask for their own memory layouts; where one's output is not laid out as the next wants it, a
// reorder is put between. Activations live in named slots: all maps of one slot share one piece of memory, as
// large as the largest, so that the chain's working set stays small.
#pragma once

#include <deque>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/aligned.h"
#include "engine/fold.h"
#include "engine/int8_network.h"

namespace lasnet::onednn {

/// Layout of the activation maps: NHWC, or each primitive's choice.
enum class Layout { nhwc, preferred };

struct GraphOptions {
  Layout layout = Layout::nhwc;
  /// convolution_direct, or convolution_auto, which may choose Winograd.
  dnnl::algorithm convolution = dnnl::algorithm::convolution_direct;
};

/// What follows a convolution's bias.
enum class Activation { none, relu, sigmoid };

/// How bytes stand for values that layers of bytes give.
struct ByteFormat {
  dnnl::memory::data_type type = dnnl::memory::data_type::u8;  ///< u8, which is a ReLU too, or s8
  float unit = 1;                                              ///< of a byte, in units of the layer's output
};

class Graph {
 public:
  explicit Graph(const GraphOptions& options);

  /// The network's input, NCHW in the caller's memory.
  dnnl::memory input(const dnnl::memory::dims& dims);

  /// A convolution with bias and activation into `slot`.
  dnnl::memory convolve(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                        Activation activation, const std::string& slot);
  /// y = ReLU(y + convolution(x) + bias), in place.
  void convolve_and_add(const dnnl::memory& x, const ConvSpec& spec, const FoldedConv& folded,
                        const dnnl::memory& y);
  /// The input as bytes: round(value * scale + zero).
  dnnl::memory quantize(const dnnl::memory& x, float scale, int32_t zero, const std::string& slot);
  /// A convolution of bytes. Where its input has a `zero`, the layer's bias expects to see it in the sums.
  dnnl::memory convolve(const dnnl::memory& x, const Int8Layer& layer, const ByteFormat& format,
                        const std::string& slot, int32_t zero = 0);
  /// y = ReLU(y + convolution(x) + bias), in place. `format` of y before; u8 and a unit of 1 after. `slot`:
  /// y's.
  dnnl::memory convolve_and_add(const dnnl::memory& x, const Int8Layer& layer, const ByteFormat& format,
                                const dnnl::memory& y, const std::string& slot);
  /// Bytes as float32.
  dnnl::memory to_floats(const dnnl::memory& x, const std::string& slot);
  /// x [N, C, H, W] times gate [N, C, 1, 1], in place.
  void scale(const dnnl::memory& x, const dnnl::memory& gate);
  /// 3x3, stride 2, padding 1.
  dnnl::memory max_pool(const dnnl::memory& x, const std::string& slot);
  /// Global: [N, C, 1, 1].
  dnnl::memory average_pool(const dnnl::memory& x, const std::string& slot);
  /// x [N, C, 1, 1] by weight [classes, C]: the network's output, [N, classes] in the caller's memory.
  void classify(const dnnl::memory& x, const Tensor& weight, const Tensor& bias);

  /// Allocates the slots. No operator can follow.
  void finish();

  /// Runs the chain.
  void run(const float* input, float* output);

  /// Names of the implementations that oneDNN chose, e.g. "jit:avx2".
  const std::set<std::string>& implementations() const { return implementations_; }

 private:
  struct Step {
    dnnl::primitive primitive;
    std::unordered_map<int, dnnl::memory> arguments;
  };
  struct Slot {
    size_t bytes = 0;
    std::vector<dnnl::memory> users;
    AlignedBuffer storage;
  };

  dnnl::memory in_slot(const std::string& slot, const dnnl::memory::desc& desc);
  dnnl::memory laid_out(const dnnl::memory& x, const dnnl::memory::desc& desc);
  dnnl::memory constant(const void* values, const dnnl::memory::desc& given,
                        const dnnl::memory::desc& wanted);
  /// Of float32 in the layout that was chosen; of bytes in NHWC, the only one that their kernels have.
  dnnl::memory::desc map_desc(const dnnl::memory::dims& dims,
                              dnnl::memory::data_type type = dnnl::memory::data_type::f32) const;
  dnnl::memory pool(const dnnl::memory& x, dnnl::algorithm algorithm, const dnnl::memory::dims& out,
                    const dnnl::memory::dims& kernel, const dnnl::memory::dims& stride,
                    const dnnl::memory::dims& padding, const std::string& slot);
  dnnl::convolution_forward::primitive_desc describe(const dnnl::memory& x, const ConvSpec& spec,
                                                     const dnnl::memory::desc& y,
                                                     const dnnl::primitive_attr& attributes) const;
  /// `weight` has the type that goes with x's, and `bias` float32.
  void add_convolution(const dnnl::convolution_forward::primitive_desc& desc, const dnnl::memory& x,
                       const ConvSpec& spec, const void* weight, const std::vector<float>& bias,
                       const dnnl::memory& y);
  template <typename Primitive, typename Desc>
  void add(const Desc& desc, std::unordered_map<int, dnnl::memory> arguments);

  GraphOptions options_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::vector<Step> steps_;
  std::map<std::string, Slot> slots_;
  std::deque<AlignedBuffer> constants_;
  std::set<std::string> implementations_;
  dnnl::memory input_, output_;
};

}  // namespace lasnet::onednn
