// Run-time choice of the vector width: hot loops are compiled twice, for x86-64-v3 (the build's baseline) and with AVX-512,
// and the wider one is taken where the processor has it. Formulas use explicit fused multiply-adds and the build forbids
// contraction, so both give the same bits.
#pragma once

#if defined(__x86_64__) && !defined(IVORY_NO_AVX512)
#define IVORY_HAS_AVX512_CLONES 1
#define IVORY_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,prefer-vector-width=512"), noinline))
#else
#define IVORY_HAS_AVX512_CLONES 0
#define IVORY_AVX512
#endif
#define IVORY_BASELINE __attribute__((noinline))

namespace ivory {

/// True when the AVX-512 clones run: the processor has them and IVORY_SIMD is not "baseline".
bool use_avx512();

}  // namespace ivory
