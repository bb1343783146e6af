/* Between nc4hw4 and the other memory orders: channels in words of four, the last one filled up. */
#include "elementwise/loops.h"
#include "interleave.h"
#include "operators.h"

/* One word of channels for all pixels of an image, where `count` of its four channels exist.
 * channel_step, pixel_step: bytes from a channel, a pixel, to the next in the other order. */
static void copy_rest(const sp_nc4hw4 *p, const uint8_t *from, uint8_t *to, int count)
{
    const int64_t channel_step = p->nhwc ? 1 : p->pixels;
    const int64_t pixel_step = p->nhwc ? p->channels : 1;
    for (int i = 0; i < p->pixels; i++)
        for (int j = 0; j < 4; j++) {
            const int64_t other = i * pixel_step + j * channel_step;
            if (p->to_words)
                to[4 * i + j] = j < count ? from[other] : 0;
            else if (j < count)
                to[other] = from[4 * i + j];
        }
}

static void copy_word(const sp_nc4hw4 *p, const uint8_t *from, uint8_t *to, int count)
{
    if (p->nhwc || count < 4) {
        copy_rest(p, from, to, count);
        return;
    }
    const int n = p->pixels;
    if (p->to_words)
        sp_interleave_4(to, (const uint8_t *const[]){from, from + n, from + 2 * n, from + 3 * n},
                        n);
    else
        sp_deinterleave_4((uint8_t *const[]){to, to + n, to + 2 * n, to + 3 * n}, from, n);
}

/* first, last: words of channels, of all images. */
static void copy_words(const void *params, const sp_context *c, int64_t first, int64_t last)
{
    const sp_nc4hw4 *p = params;
    const int words = (p->channels + 3) / 4;
    for (int64_t i = first; i < last; i++) {
        const int64_t image = i / words;
        const int channel = (int)(i % words) * 4;
        const int64_t word_at = i * 4 * p->pixels;
        const int64_t other_at =
            image * p->channels * p->pixels + (p->nhwc ? channel : (int64_t)channel * p->pixels);
        const int64_t from = p->to_words ? other_at : word_at;
        const int64_t to = p->to_words ? word_at : other_at;
        copy_word(p, (const uint8_t *)c->input[0] + from, (uint8_t *)c->output + to,
                  SP_MIN(4, p->channels - channel));
    }
}

void sp_op_nc4hw4(const void *params, const sp_context *context)
{
    const sp_nc4hw4 *p = params;
    const int64_t words = (int64_t)p->batch * ((p->channels + 3) / 4);
    sp_for_ranges(p, context, words, SP_GRAIN_BYTES / SP_MAX(4 * (int64_t)p->pixels, 1),
                  copy_words);
}
