/* The exact jieba kernel: what its parts offer each other.
 *
 * - dictionary.c  jieba's FREQ: words, prefixes, frequencies, the frequency jieba suggests for a new word
 * - table.c       compiles that dictionary into one read-only image: a double-array trie, weights, the HMM
 * - double_array.c  places the nodes of that trie; with builder.h
 * - digest.c      what tells one image from another
 * - whole.c       words with spaces and punctuation that are kept whole, on wish
 * - cut.c         jieba 0.42.1's cut, token for token, on UTF-8; with route.h, finalseg.h and long_block.h
 * - counts.c      64-bit counters for what is cut
 * - fold.c        their words by trie node as strings; their merging
 * - rows.c        counts as sorted columns
 * - grams.c       runs of up to four words; with grams.h
 * - gram_rows.c   those as sorted columns
 * - sorted.c      their rows, sorted and merged
 * - packed.c      runs of up to four characters as 64-bit keys
 * - split.c       the simple tokenizers: characters, white space
 * - pages.c       memory in large pages
 * - utf8.c        UTF-8 read, written and checked
 * - module*.c     the Python module around them; nothing else knows Python
 *
 * Every allocation is checked. Nothing here is global or writes to a file. Floating point must be IEEE
 * double without contraction (-ffp-contract=off): ties between two ways to cut are decided by exact equality.
 */
#ifndef SHOESTRING_KERNEL_H
#define SHOESTRING_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernel stores keys in little-endian words; shoestring falls back to its other engines"
#endif

#if defined(_MSC_VER)
#include <intrin.h>
#define ALWAYS_INLINE static __forceinline
#define UNLIKELY(condition) (condition)
#define PREFETCH_WRITE(address) ((void)0)
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define PREFETCH_WRITE(address) __builtin_prefetch((address), 1)
#endif

enum { HAN_FIRST = 0x4E00, HAN_LAST = 0x9FD5, HAN_COUNT = HAN_LAST - HAN_FIRST + 1, CODE_POINTS = 0x110000 };
enum { OK = 0, NO_MEMORY = -1, BAD_DICTIONARY = -2, TOO_MANY_FREQUENCIES = -3, BAD_IMAGE = -4, TOO_LONG = -5 };

/* The halves of a 128-bit product, folded: how words are hashed. */
ALWAYS_INLINE uint64_t fold_product(uint64_t a, uint64_t b) {
#if defined(_MSC_VER)
    uint64_t high, low = _umul128(a, b, &high);
    return low ^ high;
#else
    __extension__ typedef unsigned __int128 Wide;
    Wide product = (Wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#endif
}

/* Classes of ASCII characters in jieba's regular expressions. */
enum { IN_BLOCK = 1, ALNUM = 2, DIGIT = 4 };
extern const uint8_t ascii_class[128];

/* Whether jieba's re_han_default, [\u4E00-\u9FD5a-zA-Z0-9+#&._%-], takes the character into a block. */
ALWAYS_INLINE int in_block(uint32_t code) {
    return code < 128 ? ascii_class[code] & IN_BLOCK : code - HAN_FIRST < (uint32_t)HAN_COUNT;
}

ALWAYS_INLINE int is_alnum(uint32_t code) { return code < 128 && ascii_class[code] & ALNUM; }

/* Decodes one character of valid UTF-8 (surrogates pass) and returns its length in bytes. */
ALWAYS_INLINE uint32_t utf8_read(const uint8_t *text, uint32_t *code) {
    uint32_t lead = text[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    if (lead < 0xE0) {
        *code = (lead & 31) << 6 | (text[1] & 63u);
        return 2;
    }
    if (lead < 0xF0) {
        *code = (lead & 15) << 12 | (text[1] & 63u) << 6 | (text[2] & 63u);
        return 3;
    }
    *code = (lead & 7) << 18 | (text[1] & 63u) << 12 | (text[2] & 63u) << 6 | (text[3] & 63u);
    return 4;
}

uint32_t utf8_write(uint8_t *out, uint32_t code);                /* returns the length, at most 4 */
size_t utf8_first_error(const uint8_t *text, size_t length);     /* == length: all valid; Python's offsets */

/* ---- pages.c ---- */

enum { HUGE_PAGE = 2 << 20 };
void use_huge_pages(void *memory, size_t bytes); /* asks for them in what of it is aligned */
void *calloc_huge(size_t count, size_t size);

/* ---- dictionary.c ---- */

typedef struct {
    int64_t frequency;
    uint32_t parent, code; /* a word is its parent's word and one more character */
    uint32_t forced;       /* in jieba's Force_Split_Words */
} Word;

typedef struct {
    Word *words; /* words[0] is the empty word; a parent stands before its children */
    uint32_t count, room;
    uint32_t *index; /* open addressing on (parent, code) */
    uint32_t index_mask;
    int64_t total;
} Dictionary;

int dictionary_start(Dictionary *dictionary);
void dictionary_free(Dictionary *dictionary);
/* Reads jieba's dict.txt ("word frequency tag" lines); on BAD_DICTIONARY *line says where. */
int dictionary_read(Dictionary *dictionary, const uint8_t *text, size_t length, size_t *line);
/* jieba's add_word; a negative frequency means: the one that jieba suggests. */
int dictionary_add(Dictionary *dictionary, const uint8_t *word, size_t length, int64_t frequency);
/* An entry of FREQ as it is: nothing is suggested; the total is the caller's. `forced`: in Force_Split_Words. */
int dictionary_put(Dictionary *dictionary, const uint8_t *word, size_t length, int64_t frequency, int forced);
uint32_t dictionary_child(const Dictionary *dictionary, uint32_t parent, uint32_t code); /* 0: none */

/* ---- whole.c: words that jieba cannot match, because it splits at one of their characters ---- */

typedef struct {
    Dictionary words;
    uint8_t first[0x10000 / 8]; /* bitmap of the code points they begin with; beyond it all may */
} Whole;

int whole_start(Whole *whole);
int whole_add(Whole *whole, const uint8_t *word, size_t length);
void whole_free(Whole *whole);
/* The first place from `at` on where one stands, the longest of those there: *stop is its end. `length` if none. */
size_t whole_find(const Whole *whole, const uint8_t *text, size_t length, size_t at, size_t *stop);

/* ---- table.c ---- */

enum { B, M, E, S }; /* states of the HMM: begin, middle, end, single */

typedef struct {
    double start[4], transition[4][4], emission[HAN_COUNT][4];
} Hmm;

/* From the lowest bit: base (child by character id: nodes[base + id]; 0: no children; bases are unique), weight (index
 * of the word's weight, 0: not a word), check (id of the character that leads here). */
typedef uint64_t Node;

enum { BASE_BITS = 26, WEIGHT_BITS = 22, MAX_NODES = 1 << BASE_BITS, MAX_WEIGHTS = 1 << WEIGHT_BITS };

ALWAYS_INLINE uint32_t node_base(Node node) { return (uint32_t)node & (MAX_NODES - 1); }
ALWAYS_INLINE uint32_t node_weight(Node node) { return (uint32_t)(node >> BASE_BITS) & (MAX_WEIGHTS - 1); }
ALWAYS_INLINE uint32_t node_check(Node node) { return (uint32_t)(node >> (BASE_BITS + WEIGHT_BITS)); }

typedef struct {
    uint64_t magic, bytes;
    uint32_t nodes, ids, weights, words;
    uint32_t longest, spare; /* characters of the longest word */
    double unknown; /* weight of a character that begins no word: log(1) - log(total) */
    int64_t total;
} Header;

typedef struct {
    const Header *header;
    const Hmm *hmm;
    const uint16_t *id_of;   /* code point < 65536 -> character id, 0: in no word */
    const uint16_t *char_of; /* character id -> code point */
    const Node *nodes;       /* roots are at 1..ids */
    const double *weight;    /* log(frequency) - log(total); -infinity where there is no word */
    const int64_t *frequency;
    const uint8_t *forced; /* by weight index */
    const Whole *whole;    /* NULL: none */
    void *memory;
} Table;

/* Compiles a dictionary into an image (*bytes long, to be freed by the caller). */
int table_build(const Dictionary *dictionary, const Hmm *hmm, uint8_t **image, size_t *bytes);
/* Copies and checks an image; whatever its bytes are, the table is then safe to use. */
int table_open(Table *table, const uint8_t *image, size_t bytes);
void table_close(Table *table);

/* ---- digest.c ---- */

/* Two numbers that tell contents apart: made against accidents, not against those who seek two with the same. */
void digest(const uint8_t *bytes, size_t length, uint64_t found[2]);

/* ---- counts.c ---- */

typedef struct {
    uint64_t head, tail, count; /* a key of <= 16 bytes inside; else its hash, and LONG_KEY | place in the arena */
} Entry;

typedef struct {
    uint64_t documents, last;
} Seen;

typedef struct {
    const Table *table; /* may be NULL: then nothing is counted by node */
    uint64_t *by_node, *by_code;
    Entry *entries;
    uint64_t mask, used;
    uint8_t *arena;
    uint64_t arena_used, arena_room;
    int with_documents;
    Seen *node_seen, *code_seen, *entry_seen;
    uint64_t tokens, documents;
    uint64_t document; /* number of the one being cut, from 1 */
    int failed;                /* an allocation did; the counts are no longer whole */
} Counts;

typedef struct { /* sorted rows, in the layout of Arrow's large_binary */
    uint64_t rows, blob_bytes;
    int64_t *offsets, *counts, *documents; /* rows + 1, rows, rows (NULL without documents) */
    uint8_t *blob;
} Columns;

enum { QUEUE = 256 };

int counts_start(Counts *counts, const Table *table, int with_documents);
void counts_free(Counts *counts);
void counts_reserve(Counts *counts, uint64_t more);
void counts_add(Counts *counts, const uint8_t *key, size_t length, uint64_t count, uint64_t documents);
void counts_note(Counts *counts, const uint8_t *key, size_t length); /* one more, in the present document */
void counts_queue(Counts *counts, const uint64_t (*keys)[2], uint32_t length); /* one more of each short key; without documents */
/* The key's count, to be set to another number than 0 before anything else is asked; NULL without memory. */
uint64_t *counts_slot(Counts *counts, const uint8_t *key, size_t length);
void counts_merge(Counts *into, Counts *from);
void counts_discard(Counts *counts, const uint8_t *key, size_t length);
uint64_t counts_bytes(const Counts *counts);
uint64_t counts_distinct(Counts *counts);
void counts_fold(Counts *counts); /* moves what was counted by node into the hash table */
uint64_t counts_codes(const Counts *counts); /* single characters that were counted */
/* The key's bytes and length; the entry must stay where it is while they are used. */
size_t counts_key(const Counts *counts, const Entry *entry, const uint8_t **key);

/* ---- rows.c ---- */

int counts_columns(Counts *counts, int by_count, uint64_t min_count, uint64_t top, Columns *columns);
/* The blob has SHORT bytes of room behind it, as has whatever else put_word reads from or writes to. */
int columns_start(Columns *columns, uint64_t rows, size_t bytes, int with_documents);
void columns_free(Columns *columns);

/* Copies a word; where it is short SHORT bytes, which is faster than to ask how many. */
enum { SHORT = 16 };
ALWAYS_INLINE uint8_t *put_word(uint8_t *out, const uint8_t *word, size_t length) {
    memcpy(out, word, length <= SHORT ? SHORT : length);
    return out + length;
}

uint64_t key_word(const uint8_t *bytes, size_t length); /* <= 8 bytes, little-endian, padded with zeros */

ALWAYS_INLINE void note_node(Counts *counts, uint32_t node) {
    counts->by_node[node]++;
    if (UNLIKELY(counts->with_documents) && counts->node_seen[node].last != counts->document) {
        counts->node_seen[node].last = counts->document;
        counts->node_seen[node].documents++;
    }
}

ALWAYS_INLINE void note_code(Counts *counts, uint32_t code) {
    counts->by_code[code]++;
    if (UNLIKELY(counts->with_documents) && counts->code_seen[code].last != counts->document) {
        counts->code_seen[code].last = counts->document;
        counts->code_seen[code].documents++;
    }
}

/* ---- cut.c ---- */

typedef struct Cutter Cutter;
typedef struct Grams Grams; /* grams.h */

Cutter *cutter_new(const Table *table);
void cutter_free(Cutter *cutter);
/* Cuts valid UTF-8; afterwards cutter_ends() has the end of every token, in characters. */
int cutter_cut(Cutter *cutter, const uint8_t *text, size_t length, int hmm, size_t *tokens);
const uint32_t *cutter_ends(const Cutter *cutter);
/* Cuts and counts. With `lines`, each line is a document: LF and one CR before it are not counted. */
int cutter_count(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Counts *counts);
int cutter_grams(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Grams *grams);

/* ---- packed.c ---- */

typedef struct {
    const uint8_t *text;
    size_t length;
    int lines; /* whether runs end with its lines, as they all do with the piece */
} Piece;

typedef struct {
    uint32_t count;
    uint32_t code[CODE_POINTS]; /* of the characters, in order; their ids count from 1 */
} Alphabet;

typedef struct { /* sorted */
    size_t rows;
    uint64_t *key;
    int64_t *count;
} Keys;

/* Counts the runs; with more than 65,535 different characters, which the caller must look for, there are no keys. */
int packed_count(const Piece *pieces, size_t count, int longest, Alphabet *alphabet, Keys *keys);
int packed_map(const uint16_t *keys, const uint32_t *counts, size_t rows, const uint16_t *map, Keys *into);
int packed_merge(const Keys *a, const Keys *b, Keys *into);
int packed_lengths(const Keys *keys, int shortest, int longest, Keys *into); /* prefixes of all these lengths */
size_t packed_spell(uint64_t key, const uint32_t *alphabet, uint8_t *out);   /* at most 16 bytes */
void packed_free(Keys *keys);

/* ---- split.c ---- */

uint64_t count_lines(const uint8_t *text, size_t length); /* that are not empty */
int split_characters(const uint8_t *text, size_t length, int lines, Counts *counts);
int split_white_space(const uint8_t *text, size_t length, int lines, Counts *counts); /* as str.split() */
int split_character_runs(const uint8_t *text, size_t length, int lines, Grams *grams);
int split_white_space_runs(const uint8_t *text, size_t length, int lines, Grams *grams);

#endif
