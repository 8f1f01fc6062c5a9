/* Which products this processor has. */
#include "products.h"

int best_level(void) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return AVX2;
#endif
    return PORTABLE;
}

Product product_of(const Weights *w, int level) {
    static const Product *const of_level[] = {
        portable_products,
#ifdef X86
        avx2_products, avx512_products,
#endif
    };
    return of_level[level][w->bits == 8 ? 2 : w->bits == 5 ? 1 : 0];
}
