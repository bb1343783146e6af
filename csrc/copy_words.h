/* Every `step`-th of n words of four bytes, in each of some rows. */
#ifndef SPARING_COPY_WORDS_H
#define SPARING_COPY_WORDS_H

#include "internal.h"

struct sp_word_copy {
    uint32_t *to;
    const uint32_t *from;
    int64_t to_row, from_row; /* words from one row to the next */
    int rows, n, step;
};
typedef void sp_word_copy_fn(const struct sp_word_copy *copy);
sp_word_copy_fn sp_copy_words_portable, sp_copy_words_avx2;

/* For the instruction set in use. */
sp_word_copy_fn *sp_word_copy_in_use(void);

#endif
