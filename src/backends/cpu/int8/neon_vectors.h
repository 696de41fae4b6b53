// What the NEON int8 kernels have in common: all but the product of bytes. Included like kernels_impl.h.
//
// NEON multiplies bytes of one sign. Input bytes become signed by subtracting kSubtracted, which flips their
// highest bit. Sums start with what that takes from them.

struct VecNeonBytes {
  using Sum = int32x4_t;
  using Factor = int8x16_t;
  using Weights = int8x16_t;
  using Bytes = uint8x16_t;
  using Wide = int64x2_t;
  static constexpr int kWidth = 4;
  static constexpr int kRegisterChannels = 4;
  static constexpr int kWeightStep = kWidth;
  static constexpr int kSubtracted = 128;
  static constexpr auto kTilePixels = int8_register_tile("neon").pixels;

  static Weights load_weights(const uint32_t* p) { return vreinterpretq_s8_u32(vld1q_u32(p)); }
  static Factor broadcast(uint32_t word) { return subtracted(vreinterpretq_u8_u32(vdupq_n_u32(word))); }
  static Factor subtracted(Bytes a) { return vreinterpretq_s8_u8(veorq_u8(a, vdupq_n_u8(kSubtracted))); }
  static Sum zero_sum() { return vdupq_n_s32(0); }
  static Sum load_sum(const int32_t* p) { return vld1q_s32(p); }
  static void store_sum(int32_t* p, Sum a) { vst1q_s32(p, a); }
  static Sum add(Sum a, Sum b) { return vaddq_s32(a, b); }
  template <int kBits>
  static Sum shift(Sum a) {
    return vshlq_n_s32(a, kBits);
  }
  static Sum scaled(Sum a, const float* multiplier, const float* bias) {
    return vcvtnq_s32_f32(vfmaq_f32(vld1q_f32(bias), vcvtq_f32_s32(a), vld1q_f32(multiplier)));
  }
  static Sum times(Sum a, const float* factor) {
    return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(a), vld1q_f32(factor)));
  }
  static Sum load_bytes(const uint8_t* p) {
    uint32_t word;
    std::memcpy(&word, p, sizeof word);
    const uint16x8_t halves = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(word)));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(halves)));
  }
  template <int NV>
  static void store_bytes(uint8_t* p, const Sum (&a)[NV]) {
    for (int j = 0; j < NV; ++j) {
      const uint16x4_t halves = vqmovun_s32(a[j]);
      const uint8x8_t bytes = vqmovn_u16(vcombine_u16(halves, halves));
      const uint32_t word = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
      std::memcpy(p + j * kWidth, &word, sizeof word);
    }
  }
  static Sum input_bytes(const float* p, float inverse_scale, float zero) {
    const float32x4_t scaled = vfmaq_f32(vdupq_n_f32(zero), vld1q_f32(p), vdupq_n_f32(inverse_scale));
    const float32x4_t above = vmaxnmq_f32(scaled, vdupq_n_f32(0));  // the other operand, if one is NaN
    return vcvtnq_s32_f32(vminq_f32(above, vdupq_n_f32(kMaxByte)));
  }
  static Bytes load_raw(const uint8_t* p) { return vld1q_u8(p); }
  static void store_raw(uint8_t* p, Bytes a) { vst1q_u8(p, a); }
  static Bytes max_bytes(Bytes a, Bytes b) { return vmaxq_u8(a, b); }
  static Wide zero_wide() { return vdupq_n_s64(0); }
  static Wide multiply_add_wide(Sum a, Sum b, Wide c) {
    return vmlal_high_s32(vmlal_s32(c, vget_low_s32(a), vget_low_s32(b)), a, b);
  }
  static int64_t total(Wide a) { return vaddvq_s64(a); }
};
