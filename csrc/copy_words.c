/* Copies of words in plain C, and the choice among the copies. */
#include "copy_words.h"

#include <string.h>

void sp_copy_words_portable(const struct sp_word_copy *copy)
{
    uint32_t *to = copy->to;
    const uint32_t *from = copy->from;
    for (int row = 0; row < copy->rows; row++, to += copy->to_row, from += copy->from_row)
        if (copy->step == 1)
            memcpy(to, from, (size_t)copy->n * sizeof *to);
        else
            for (int i = 0; i < copy->n; i++)
                to[i] = from[(int64_t)copy->step * i];
}

sp_word_copy_fn *sp_word_copy_in_use(void)
{
#ifdef SP_X86
    if (sp_isa_includes(SP_ISA_AVX2))
        return sp_copy_words_avx2;
#endif
    return sp_copy_words_portable;
}
