/* The dictionary compiled for reading: a double-array trie whose nodes take 8 bytes, laid out in one image.
 *
 * - The child of a node by character id c is nodes[base + c], if that node's check is c.
 * - No two nodes have the same base, so `check` needs no parent, and a node's parent is found again as the owner
 *   of base = node - check.
 * - Ids are given by how often a character continues a word: common ones are small and lie close together.
 * - A weight is stored once per distinct frequency; 22 bits find it.
 */
#include "builder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IDS = 1 << 16, NO_CHECK = 0xFFFF };
static const uint64_t MAGIC = 0x33304B4E4F485353; /* changes with the layout */

/* ---- the layout of the image ---- */

typedef struct {
    size_t hmm, id_of, char_of, weight, frequency, forced, nodes, bytes;
} Layout;

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

static Layout layout(uint32_t nodes, uint32_t weights) {
    Layout at;
    at.hmm = aligned(sizeof(Header));
    at.id_of = at.hmm + aligned(sizeof(Hmm));
    at.char_of = at.id_of + IDS * sizeof(uint16_t);
    at.weight = at.char_of + IDS * sizeof(uint16_t);
    at.frequency = at.weight + aligned(weights * sizeof(double));
    at.forced = at.frequency + aligned(weights * sizeof(int64_t));
    at.nodes = at.forced + aligned(weights);
    at.bytes = at.nodes + aligned((size_t)nodes * sizeof(Node));
    return at;
}

/* ---- building ---- */

/* Marks the words a block can contain and counts the characters that continue them. */
static void choose(Builder *build, uint64_t *continues, uint8_t *seen) {
    const Word *words = build->dictionary->words;
    build->usable[0] = 1;
    for (uint32_t word = 1; word < build->dictionary->count; word++) {
        uint32_t parent = words[word].parent, code = words[word].code;
        if (!build->usable[parent] || !in_block(code))
            continue;
        build->usable[word] = 1;
        build->slot[word] = build->slot[parent] + 1; /* for now its length */
        build->longest = build->slot[word] > build->longest ? build->slot[word] : build->longest;
        build->words++;
        seen[code] = 1;
        if (parent)
            continues[code]++;
    }
}

typedef struct {
    uint64_t times;
    uint32_t code;
} Ranked;

static int by_rank(const void *left, const void *right) {
    const Ranked *a = left, *b = right;
    if (a->times != b->times)
        return a->times > b->times ? -1 : 1;
    return a->code < b->code ? -1 : 1;
}

static int give_ids(Builder *build) {
    uint64_t *continues = calloc(IDS, sizeof *continues);
    uint8_t *seen = calloc(IDS, 1);
    Ranked *ranked = malloc(IDS * sizeof *ranked);
    int done = continues && seen && ranked ? OK : NO_MEMORY;
    if (done == OK) {
        choose(build, continues, seen);
        for (uint32_t code = 0; code < IDS; code++)
            if (seen[code])
                ranked[build->ids++] = (Ranked){continues[code], code};
        qsort(ranked, build->ids, sizeof *ranked, by_rank);
        for (uint32_t rank = 0; rank < build->ids; rank++) {
            build->id_of[ranked[rank].code] = (uint16_t)(rank + 1);
            build->char_of[rank + 1] = (uint16_t)ranked[rank].code;
        }
    }
    free(continues);
    free(seen);
    free(ranked);
    return done;
}

/* Sorts the words by id, then hands them out to their parents, so that children are in order of id. */
static int group_children(Builder *build) {
    const Dictionary *dictionary = build->dictionary;
    uint32_t *ends = calloc((size_t)build->ids + 2, sizeof *ends);
    uint32_t *sorted = malloc(((size_t)build->words + 1) * sizeof *sorted);
    int done = ends && sorted ? OK : NO_MEMORY;
    if (done == OK) {
        for (uint32_t word = 1; word < dictionary->count; word++)
            if (build->usable[word]) {
                ends[id_of_word(build, word) + 1]++;
                build->first[dictionary->words[word].parent + 1]++;
            }
        for (uint32_t id = 0; id <= build->ids; id++)
            ends[id + 1] += ends[id];
        for (uint32_t word = 1; word < dictionary->count; word++)
            if (build->usable[word])
                sorted[ends[id_of_word(build, word)]++] = word;
        for (uint32_t word = 0; word < dictionary->count; word++)
            build->first[word + 1] += build->first[word];
        for (uint32_t at = 0; at < build->words; at++)
            build->child[build->first[dictionary->words[sorted[at]].parent]++] = sorted[at];
        for (uint32_t word = dictionary->count; word > 0; word--) /* undo the moves of the line before */
            build->first[word] = build->first[word - 1];
        build->first[0] = 0;
    }
    free(ends);
    free(sorted);
    return done;
}

/* Numbers the distinct (frequency, forced); index 0 is "not a word". */
static int number_weights(Builder *build) {
    uint32_t mask = 1 << 12;
    while (mask < MAX_WEIGHTS && mask < build->dictionary->count)
        mask *= 2;
    mask = mask * 2 - 1;
    uint32_t *index = calloc((size_t)mask + 1, sizeof *index);
    if (!index)
        return NO_MEMORY;
    build->weights = 1;
    int done = OK;
    for (uint32_t word = 1; word < build->dictionary->count && done == OK; word++) {
        const Word *entry = &build->dictionary->words[word];
        if (!build->usable[word] || (!entry->frequency && !entry->forced))
            continue;
        uint64_t key = (uint64_t)entry->frequency * 2 + entry->forced;
        uint32_t at = (uint32_t)(key * 0x9E3779B97F4A7C15u >> 32) & mask, found;
        while ((found = index[at]) &&
               (build->frequency[found] != entry->frequency || build->forced[found] != entry->forced))
            at = (at + 1) & mask;
        if (!found && build->weights == MAX_WEIGHTS) {
            done = TOO_MANY_FREQUENCIES;
        } else if (!found) {
            found = index[at] = build->weights++;
            build->frequency[found] = entry->frequency;
            build->forced[found] = (uint8_t)entry->forced;
        }
        build->weight_of[word] = found;
    }
    free(index);
    return done;
}

static Node node_of(uint32_t base, uint32_t weight, uint32_t check) {
    return base | (Node)weight << BASE_BITS | (Node)check << (BASE_BITS + WEIGHT_BITS);
}

static void write_image(const Builder *build, const Hmm *hmm, const Layout *at, uint32_t nodes, uint8_t *image) {
    double log_total = log((double)build->dictionary->total), *weight = (double *)(void *)(image + at->weight);
    Header header = {.magic = MAGIC, .bytes = at->bytes, .nodes = nodes, .ids = build->ids, .words = build->words,
                     .weights = build->weights, .longest = build->longest, .unknown = log(1.0) - log_total, .total = build->dictionary->total};
    memcpy(image, &header, sizeof header);
    memcpy(image + at->hmm, hmm, sizeof *hmm);
    memcpy(image + at->id_of, build->id_of, IDS * sizeof(uint16_t));
    memcpy(image + at->char_of, build->char_of, IDS * sizeof(uint16_t));
    memcpy(image + at->frequency, build->frequency, build->weights * sizeof(int64_t));
    memcpy(image + at->forced, build->forced, build->weights);
    for (uint32_t index = 0; index < build->weights; index++)
        weight[index] = build->frequency[index] ? log((double)build->frequency[index]) - log_total : -INFINITY;
    Node *node = (Node *)(void *)(image + at->nodes);
    for (uint32_t slot = 0; slot < nodes; slot++)
        node[slot] = node_of(0, 0, NO_CHECK);
    for (uint32_t word = 1; word < build->dictionary->count; word++)
        if (build->usable[word]) {
            uint16_t check = build->dictionary->words[word].parent ? id_of_word(build, word) : NO_CHECK;
            node[build->slot[word]] = node_of(build->base[word], build->weight_of[word], check);
        }
}

static int allocate(Builder *build) {
    size_t words = build->dictionary->count, weights = words < MAX_WEIGHTS ? words + 1 : MAX_WEIGHTS;
    build->id_of = calloc(IDS, sizeof *build->id_of);
    build->char_of = calloc(IDS, sizeof *build->char_of);
    build->usable = calloc(words, 1);
    build->first = calloc(words + 1, sizeof *build->first);
    build->child = calloc(words, sizeof *build->child);
    build->slot = calloc(words, sizeof *build->slot);
    build->base = calloc(words, sizeof *build->base);
    build->weight_of = calloc(words, sizeof *build->weight_of);
    build->frequency = calloc(weights, sizeof *build->frequency);
    build->forced = calloc(weights, 1);
    return build->id_of && build->char_of && build->usable && build->first && build->child && build->slot &&
                   build->base && build->weight_of && build->frequency && build->forced
               ? OK
               : NO_MEMORY;
}

int table_build(const Dictionary *dictionary, const Hmm *hmm, uint8_t **image, size_t *bytes) {
    Builder build = {.dictionary = dictionary};
    int done = allocate(&build);
    done = done == OK ? give_ids(&build) : done;
    done = done == OK ? group_children(&build) : done;
    done = done == OK ? number_weights(&build) : done;
    done = done == OK ? place_nodes(&build) : done;
    if (done == OK) {
        uint32_t nodes = build.top + build.ids + 2; /* base + id of any character stays inside */
        Layout at = layout(nodes, build.weights);
        *bytes = at.bytes;
        *image = calloc(1, at.bytes);
        if (*image)
            write_image(&build, hmm, &at, nodes, *image);
        else
            done = NO_MEMORY;
    }
    void *all[] = {build.id_of, build.char_of, build.usable, build.first,     build.child,     build.full,
                   build.taken, build.slot,    build.base,   build.weight_of, build.frequency, build.forced};
    for (size_t each = 0; each < sizeof all / sizeof *all; each++)
        free(all[each]);
    return done;
}

/* ---- opening ---- */

static int consistent(const Table *table) {
    const Header *header = table->header;
    for (uint32_t code = 0; code < IDS; code++)
        if (table->id_of[code] > header->ids || table->char_of[code] == NO_CHECK)
            return 0;
    for (uint32_t slot = 0; slot < header->nodes; slot++) {
        uint32_t check = node_check(table->nodes[slot]);
        if (node_base(table->nodes[slot]) > header->nodes - header->ids - 1 ||
            node_weight(table->nodes[slot]) >= header->weights ||
            (check != NO_CHECK && (!check || check > header->ids || slot <= header->ids)))
            return 0;
    }
    return 1;
}

int table_open(Table *table, const uint8_t *image, size_t bytes) {
    memset(table, 0, sizeof *table);
    Header header;
    if (bytes < sizeof header)
        return BAD_IMAGE;
    memcpy(&header, image, sizeof header);
    if (header.magic != MAGIC || header.bytes > bytes || !header.weights || header.weights > MAX_WEIGHTS ||
        header.ids >= NO_CHECK || header.nodes < header.ids + 2 || header.nodes > MAX_NODES ||
        header.longest > header.nodes)
        return BAD_IMAGE;
    Layout at = layout(header.nodes, header.weights);
    if (at.bytes != header.bytes)
        return BAD_IMAGE;
    bytes = at.bytes; /* a check sum may follow */
    uint8_t *memory = malloc(bytes + 2 * HUGE_PAGE);
    if (!memory)
        return NO_MEMORY;
    uint8_t *copy = memory + (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    use_huge_pages(copy, bytes + HUGE_PAGE - 1); /* a third fewer TLB misses */
    memcpy(copy, image, bytes);
    *table = (Table){.header = (const void *)copy, .hmm = (const void *)(copy + at.hmm),
                     .id_of = (const void *)(copy + at.id_of), .char_of = (const void *)(copy + at.char_of),
                     .nodes = (const void *)(copy + at.nodes), .weight = (const void *)(copy + at.weight),
                     .frequency = (const void *)(copy + at.frequency), .forced = copy + at.forced, .memory = memory};
    int done = consistent(table) ? OK : BAD_IMAGE;
    if (done != OK)
        table_close(table);
    return done;
}

void table_close(Table *table) {
    free(table->memory);
    memset(table, 0, sizeof *table);
}
