/* UTF-8 and classes of characters: what every other file stands on. */
#include "kernel.h"

/* [a-zA-Z0-9+#&._%-] and its subclasses. */
#define L (IN_BLOCK | ALNUM)
#define N (IN_BLOCK | ALNUM | DIGIT)
#define X IN_BLOCK
const uint8_t ascii_class[128] = {
    ['#'] = X, ['%'] = X, ['&'] = X, ['+'] = X, ['-'] = X, ['.'] = X, ['_'] = X,
    ['0'] = N, ['1'] = N, ['2'] = N, ['3'] = N, ['4'] = N, ['5'] = N, ['6'] = N, ['7'] = N, ['8'] = N, ['9'] = N,
    ['A'] = L, ['B'] = L, ['C'] = L, ['D'] = L, ['E'] = L, ['F'] = L, ['G'] = L, ['H'] = L, ['I'] = L, ['J'] = L,
    ['K'] = L, ['L'] = L, ['M'] = L, ['N'] = L, ['O'] = L, ['P'] = L, ['Q'] = L, ['R'] = L, ['S'] = L, ['T'] = L,
    ['U'] = L, ['V'] = L, ['W'] = L, ['X'] = L, ['Y'] = L, ['Z'] = L,
    ['a'] = L, ['b'] = L, ['c'] = L, ['d'] = L, ['e'] = L, ['f'] = L, ['g'] = L, ['h'] = L, ['i'] = L, ['j'] = L,
    ['k'] = L, ['l'] = L, ['m'] = L, ['n'] = L, ['o'] = L, ['p'] = L, ['q'] = L, ['r'] = L, ['s'] = L, ['t'] = L,
    ['u'] = L, ['v'] = L, ['w'] = L, ['x'] = L, ['y'] = L, ['z'] = L,
};
#undef L
#undef N
#undef X

uint32_t utf8_write(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (code & 63));
    return 4;
}

static int continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Length of the character at the front, 0 if it is not valid (RFC 3629: no surrogates, shortest form). */
static size_t valid(const uint8_t *text, size_t left) {
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return left >= 2 && continues(text[1]) ? 2 : 0;
    if (lead < 0xF0) {
        uint8_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
        return left >= 3 && text[1] >= low && text[1] <= high && continues(text[2]) ? 3 : 0;
    }
    uint8_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return left >= 4 && text[1] >= low && text[1] <= high && continues(text[2]) && continues(text[3]) ? 4 : 0;
}

size_t utf8_first_error(const uint8_t *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        /* the common case of Chinese text: a three-byte character with a lead from E1 to EC */
        while (length - at >= 3 && (uint8_t)(text[at] - 0xE1) < 12 && continues(text[at + 1]) && continues(text[at + 2]))
            at += 3;
        if (at == length)
            break;
        size_t step = valid(text + at, length - at);
        if (!step)
            return at;
        at += step;
    }
    return length;
}
