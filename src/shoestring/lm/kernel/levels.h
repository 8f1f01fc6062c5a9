/* Code that is compiled once for each kind of processor. */
#ifndef SHOESTRING_LM_LEVELS_H
#define SHOESTRING_LM_LEVELS_H

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* What is computed side by side stays in registers only where its loops are unrolled. */
#if defined(__GNUC__)
#define UNROLLED _Pragma("GCC unroll 8")
#else
#define UNROLLED
#endif
#define EACH(AT, COUNT) UNROLLED for (int AT = 0; AT < COUNT; AT++)

/* Defines NAME_of[level], a void function, from the inline function NAME. */
#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#define FOR_AVX2 __attribute__((target("avx2,fma")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define EVERY_LEVEL(NAME, PARAMETERS, ARGUMENTS)                      \
    static void NAME##_portable PARAMETERS { NAME ARGUMENTS; }        \
    FOR_AVX2 static void NAME##_avx2 PARAMETERS { NAME ARGUMENTS; }   \
    FOR_AVX512 static void NAME##_avx512 PARAMETERS { NAME ARGUMENTS; } \
    void (*const NAME##_of[]) PARAMETERS = {NAME##_portable, NAME##_avx2, NAME##_avx512};
#else
#define EVERY_LEVEL(NAME, PARAMETERS, ARGUMENTS)               \
    static void NAME##_portable PARAMETERS { NAME ARGUMENTS; } \
    void (*const NAME##_of[]) PARAMETERS = {NAME##_portable, NAME##_portable, NAME##_portable};
#endif

#endif
