// What the AVX2 and AVX-VNNI int8 kernels have in common: all but the dot product of bytes. Included like
// kernels_impl.h.

struct VecAvx2Bytes {
  using Sum = __m256i;
  using Bytes = __m256i;
  using Wide = __m256i;
  static constexpr int kWidth = 8;
  static constexpr int kRegisterChannels = 2;
  static constexpr int kSubtracted = 0;

  static Sum zero_sum() { return _mm256_setzero_si256(); }
  static Sum load_sum(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store_sum(int32_t* p, Sum a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
  static Sum add(Sum a, Sum b) { return _mm256_add_epi32(a, b); }
  template <int kBits>
  static Sum shift(Sum a) {
    return _mm256_slli_epi32(a, kBits);
  }
  static Sum scaled(Sum a, const float* multiplier, const float* bias) {
    return _mm256_cvtps_epi32(
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), _mm256_loadu_ps(multiplier), _mm256_loadu_ps(bias)));
  }
  static Sum times(Sum a, const float* factor) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_loadu_ps(factor)));
  }
  static Sum load_bytes(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  template <int NV>
  static void store_bytes(uint8_t* p, const Sum (&a)[NV]) {
    // Packing works on halves of a register.
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a[0], a[NV - 1]), _mm256_setzero_si256());
    const __m128i joined =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    if constexpr (NV == 2) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), joined);
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), joined);
    }
  }
  static Sum input_bytes(const float* p, float inverse_scale, float zero) {
    const __m256 scaled =
        _mm256_fmadd_ps(_mm256_loadu_ps(p), _mm256_set1_ps(inverse_scale), _mm256_set1_ps(zero));
    const __m256 above = _mm256_max_ps(scaled, _mm256_setzero_ps());  // the second operand, if NaN
    return _mm256_cvtps_epi32(_mm256_min_ps(above, _mm256_set1_ps(kMaxByte)));
  }
  static Bytes load_raw(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store_raw(uint8_t* p, Bytes a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
  static Bytes max_bytes(Bytes a, Bytes b) { return _mm256_max_epu8(a, b); }
  static Wide zero_wide() { return _mm256_setzero_si256(); }
  static Wide multiply_add_wide(Sum a, Sum b, Wide c) {
    const __m256i even = _mm256_mul_epi32(a, b);
    const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    return _mm256_add_epi64(c, _mm256_add_epi64(even, odd));
  }
  static int64_t total(Wide a) {
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    return _mm_cvtsi128_si64(half) + _mm_extract_epi64(half, 1);
  }
};
