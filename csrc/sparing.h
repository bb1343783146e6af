/* The C API, as Python sees it. Read twice: by the compiler (through internal.h) and by cffi's
 * cdef(), so it holds plain declarations only: no #include, no macros.
 *
 * Nothing here checks sizes: kernels/native.py does, before it calls. Activations are uint8 or
 * float32. "nhwc" and "nchw" name the order of an activation's axes in memory. Every operator is
 * described by a parameter struct that stays valid, with all it points to, as long as the step. */

/* ---- instruction sets ------------------------------------------------------------------- */

int sp_isa_count(void);             /* instruction sets this CPU can run, best first          */
const char *sp_isa_name(int i);     /* name of the i-th of them                               */
const char *sp_isa(void);           /* the one in use                                         */
int sp_force_isa(const char *name); /* 0, or -1 where the name is unknown or cannot run here   */

/* A micro-kernel of kernels.def: computes mr x nr sums at once from packed weights. */
typedef struct {
    const char *op;   /* "gemm_s8", "depthwise_s8", ...                                        */
    const char *name; /* C name, e.g. "gemm_s8_6x64_avx512vnni"                               */
    const char *isa;
    int mr, nr;       /* tile: rows (pixels) and columns (output channels)                    */
                      /* sparse: lanes of a whole block, and of the narrowest                 */
    int k_group;      /* consecutive inputs that are adjacent in the packed weights           */
                      /* sparse: non-zeros (or blocks) of an entry                            */
    int weight_bytes; /* 1: int8, 2: int16, 4: float32, or a block of int8                    */
} sp_ukernel_info;

int sp_ukernel_count(void); /* all that are compiled in, runnable here or not */
sp_ukernel_info sp_ukernel(int i);
int sp_ukernel_runnable(int i); /* 1 where the instruction set in use includes it */

/* ---- parameters ------------------------------------------------------------------------- */

typedef struct {
    int batch, in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int pad_top, pad_left; /* bottom and right follow from the output size */
} sp_conv_shape;

typedef struct {
    int zero_point, lo, hi; /* in the uint8 domain */
} sp_range;

enum { SP_RESIDUAL_NONE = 0, SP_RESIDUAL_ACCUMULATOR = 1, SP_RESIDUAL_QUANTIZED = 2 };

/* From int32 sums to uint8; see requantize.h for the rule. */
typedef struct {
    const int32_t *bias;     /* [O], the constant -x_zp * sum(w) folded in, modulo 2^32 */
    const float *multiplier; /* [O] */
    sp_range output;
    int residual_mode;
    sp_range conv_output;      /* SP_RESIDUAL_QUANTIZED: range of the value before the addition */
    float conv_multiplier;     /* SP_RESIDUAL_QUANTIZED                                         */
    int residual_zero_point;   /* both residual modes                                           */
    float residual_multiplier; /* both residual modes                                           */
    int fits; /* 1: acc * multiplier, and a residual on top, always fit int32 after rounding    */
    const uint8_t *table; /* [256], applied last; or NULL                                       */
} sp_epilogue;

/* Dense convolution, nhwc. weights: for each group its panels, each [k_padded / k_group][columns]
 * [k_group]: nr columns (16 for tile registers), the last panel of a group only those that are
 * left, rounded up to 16. K runs in the order (kernel_h, kernel_w, in_c / groups); fill is zero
 * (packing.py). Padded taps read x_zero_point. 64 values behind the epilogue's bias and multiplier
 * must be readable. The gemm_windows_s8 kernels take panels from sp_pack_windows instead. */
typedef struct {
    sp_conv_shape shape;
    int ukernel; /* index for sp_ukernel */
    int x_zero_point;
    int k_padded;
    int row_bytes; /* 0, or what each row of taps takes with its fill, where not K as a whole is
                    * filled up: one group, dilation_w 1, k_padded = kernel_h * row_bytes. Only
                    * where tile registers run it: csrc/conv_s8/tiled.h */
    const void *weights;
    const int64_t *panel_start; /* gemm_windows_s8: first byte of each panel; else NULL */
    const uint32_t *quad_place; /* NULL, or windows, none in int16, hold for activations up to 128,
                                 * and the rest of lowest + such ones is multiplied apart:
                                 * csrc/gemm_s8/outliers.h. AVX2 alone */
    int lowest;                 /* 0 to 127; the bias then has lowest * sum(weights) in it */
    sp_epilogue epilogue;
} sp_conv_s8;

/* Depthwise convolution (groups == in_c == out_c), nhwc. weights: [chunks][rows][kernel_w][groups]
 * [nr][k_group], see csrc/depthwise_s8/depthwise_s8.h. 64 values behind the epilogue's bias and
 * multiplier must be readable. */
typedef struct {
    sp_conv_shape shape;
    int ukernel;
    int x_zero_point;
    const void *weights;
    sp_epilogue epilogue;
} sp_depthwise_s8;

/* Convolution of narrow groups, nhwc: width input and output channels each, 4, 8 or 16; in_c is at
 * least 16. weights: int16, 64-byte aligned, [blocks of 16 channels][taps][width][16], see
 * csrc/grouped_s8/grouped_s8.h; the last block ends with the last channel. 64 values behind the
 * epilogue's bias and multiplier must be readable. */
typedef struct {
    sp_conv_shape shape;
    int ukernel;
    int x_zero_point;
    int width;
    const void *weights;
    sp_epilogue epilogue;
} sp_grouped_s8;

/* Dense 3x3 convolution, nhwc, stride 1, dilation 1, one group, by the Winograd transform F(4x4,
 * 3x3): csrc/winograd_s8/winograd_s8.h says how, and where it is exact. weights, if
 * transformed: int16, [blocks of 64 output channels][36] matrices of in_c rows, each packed in
 * panels as for sp_conv_s8; else int8, [out_c / 16][k_padded / 2][9][16][2], transformed in each
 * run. 64 values behind the epilogue's bias and multiplier must be readable. */
typedef struct {
    sp_conv_shape shape;
    int ukernel;
    int x_zero_point;
    int k_padded;
    int transformed;
    const void *weights;
    sp_epilogue epilogue;
} sp_winograd_s8;

/* Integer product y[m][n] = sum_k x[m][k] w[n][k] + bias[n], modulo 2^32; weights packed as for
 * sp_conv_s8 with one group. */
typedef struct {
    int m, n, k, k_padded;
    int ukernel;
    const void *weights;
    const int64_t *panel_start; /* as in sp_conv_s8 */
    const int32_t *bias;        /* [n], -x_zp * sum(w) folded in */
} sp_gemm_s8;

/* Panels of the gemm_windows_s8 kernels: csrc/gemm_s8/windows.h describes them, and windows.c the
 * proof that their sums in int16 cannot saturate with activations in [0, x_max]. */
typedef struct {
    int64_t vectors[9]; /* groups of 4 k and 8 columns in windows of so many; 0: in int16 alone */
    double nanoseconds; /* estimate of two rows */
} sp_window_use;

/* Packs w[groups][columns][k], k at least 1. packed: 64-byte aligned, sp_window_bytes long for each
 * group. panel_start: one for each 32 columns of a group. quad_place: NULL, or for each of them how
 * many vectors of 32 bytes lie between its start and each quad of k. use: added to. Returns how
 * many bytes of `packed` it used. */
int64_t sp_window_bytes(int columns, int k);
int64_t sp_pack_windows(const int8_t *w, int groups, int columns, int k, int x_max, void *packed,
                        int64_t *panel_start, uint32_t *quad_place, sp_window_use *use);
/* The estimate alone. */
double sp_window_nanoseconds(const int8_t *w, int groups, int columns, int k, int x_max);

/* ---- packing weights (csrc/packing): int8 in ONNX order, w[rows][channels][taps] ---- */

/* Weights that are not zero; where channels are a multiple of four, blocks of four channels that
 * are not; and of all rows the largest sum of positive weights and the least of negative ones. */
typedef struct {
    int64_t nonzeros, blocks, most, least;
} sp_weight_totals;
/* Of each row the sum of its weights and of its positive ones; and what holds for all. */
void sp_count_weights(const int8_t *w, int rows, int channels, int taps, int64_t *sum,
                      int64_t *positive, sp_weight_totals *totals);
/* To ordered[rows][taps][channels]. */
void sp_order_as_patches(const int8_t *w, int rows, int channels, int taps, int8_t *ordered);
/* Weights [channels][kernel_h][kernel_w] of `bytes` each, 1 or 2, for sp_depthwise_s8; of output
 * row r of a band the taps stand r * stride_h rows below those of the first, between zeros. Of such
 * taps the least and the largest sum that neighbours of one column (an even row and the next) can
 * have, leaving out either one or both. */
void sp_pack_depthwise(const void *w, int bytes, int channels, int kernel_h, int kernel_w, int rows,
                       int stride_h, int nr, int k_group, void *packed);
void sp_depthwise_pairs(const int8_t *w, int channels, int kernel_h, int kernel_w, int rows,
                        int stride_h, int *lowest, int *highest);
/* Windows of the conv_csr_s8 and conv_block_s8 kernels: csrc/packing/csr_windows.c. Time of an item
 * (a pair, or a block) and of ending a window; sizes: bit n is set where windows of n may serve. */
enum { SP_CSR_LARGEST_WINDOW = 4 };
typedef struct {
    int item, window;
    unsigned sizes;
} sp_window_costs;
/* value: not zero, `count[i]` of each segment. slot: of each value in its segment, two a pair,
 * pairs in windows; steps: pairs of each segment, windows filled up with empty pairs. limit: of a
 * window's weights of one sign. scratch: 10 * capacity, the largest count. Returns pairs a window.
 */
int sp_pair_up(const int8_t *value, const int64_t *count, int segments, int limit,
               sp_window_costs costs, int32_t *scratch, int64_t capacity, int32_t *slot,
               int64_t *steps);
/* The same for blocks [4], of which each pair fits the limit alone; place: of each block. */
int sp_window_blocks(const int8_t *block, const int64_t *count, int segments, int limit,
                     sp_window_costs costs, int32_t *scratch, int64_t capacity, int32_t *place,
                     int64_t *steps);
/* Sparse weights w[rows][channels][taps]; channels are those of a group, group_rows its rows. lane:
 * lanes from an output to the input that each weight of a row of the first group meets (of blocks:
 * each tap of four channels), group_lanes apart in the next group. block_channels: input channels
 * of a segment; from block to block offsets lose block_lanes. */
typedef struct {
    int rows, channels, taps, group_rows;
    const int32_t *lane;
    int64_t group_lanes;
    int block_channels;
    int64_t block_lanes;
} sp_sparse_source;
/* The non-zeros of int8 or of float weights (the other is NULL) in memory order within segments,
 * count[blocks of channels][rows]. Returns how many, or -1 where there are more than `capacity`. */
int64_t sp_list_nonzeros(const int8_t *bytes, const float *floats, const sp_sparse_source *source,
                         int64_t *count, int32_t *offset, void *value, int64_t capacity);
/* The blocks of four channels that are not zero, count[rows], value [4] each. One of which a pair
 * of weights does not fit int16 with activations in [0, x_max] becomes two. */
int64_t sp_list_blocks(const int8_t *w, const sp_sparse_source *source, int x_max, int64_t *count,
                       int32_t *offset, int8_t *value, int64_t capacity);
/* Entries of sparse rows: the non-zeros of segment i follow each other, count[i] of them, and its
 * entries begin at entries[start[i]]. slot: in the segment; NULL: as they come. value: int8, or for
 * k_group 1 words. entries: zero. */
void sp_fill_csr(const int32_t *offset, const int32_t *slot, const void *value,
                 const int64_t *count, const int64_t *start, int segments, int k_group,
                 int32_t *entries);
/* Puts values of `bytes` (1, 2, 4 or 8) bytes into dense[size], which is zero, where the bits of a
 * mask are set, most significant first. Returns how many, or -1 where they are more than `count`.
 */
int64_t sp_expand_bits(const uint8_t *mask, int64_t size, const void *value, int64_t count,
                       int bytes, void *dense);
/* 3x3 weights to what sp_winograd_s8 takes, for a micro-kernel of nr columns (a multiple of 16, at
 * most 64) and k_group 2; 36 * round_up(outputs, 16) * round_up(channels, 2) int16. */
void sp_pack_winograd(const int8_t *w, int outputs, int channels, int nr, int16_t *packed);
/* The same weights as they are; 9 * round_up(outputs, 16) * round_up(channels, 2) int8. */
void sp_pack_winograd_taps(const int8_t *w, int outputs, int channels, int8_t *packed);

/* Sparse convolution, nchw; or nhwc where lanes are gathered. SP_CONV_BLOCK_S8 takes the same
 * struct for weights in blocks of four input channels, nc4hw4: there an element is a word of four
 * channels, and shape.in_c counts words, but shape.out_c channels. Pixels are lanes, of which
 * neighbouring ones make a block. Where the lanes come from: */
enum {
    SP_CSR_IN_PLACE, /* 1x1, stride 1: the input as it is; lanes are an image's pixels */
    SP_CSR_GATHERED, /* 1x1: each block's input is copied first; lanes are the batch's outputs */
    SP_CSR_PLANES,   /* else: a padded copy of the input, one plane for each phase of the stride;
                        lanes run over output rows, and over the padding between rows and images  */
};
typedef struct {
    int source;
    int images;                     /* images a pass                                       */
    int row_width, image_lanes;     /* lanes from an output row, an image, to the next     */
    int phases_h, phases_w;         /* SP_CSR_PLANES: planes of a channel                    */
    int phase_lanes, channel_lanes; /* lanes from one of these, from one channel to the next */
} sp_csr_lanes;

/* `steps` entries, all of output channel `row`. A row may consist of several segments. */
typedef struct {
    int row, steps;
    int first, last; /* 1 where the row begins, ends */
} sp_csr_segment;

/* Packed rows: panels of output channels, which may run at the same time, each in parts of
 * channel_block input channels, with the part's segments and their entries in a row. Offsets count
 * from the part's first channel. packing_csr.py documents the entries. */
typedef struct {
    int panels, split_rows;      /* split_rows: 1 where a row has several segments */
    int parts, channel_block;    /* of each panel */
    const int32_t *part_segment; /* [panels * parts + 1]: first segment             */
    const int64_t *part_byte;    /* [panels * parts]: first entry, in bytes         */
    const sp_csr_segment *segments;
    const void *entries;
} sp_csr_matrix;

/* Sparse rows that are to be ordered: rows, and blocks of input channels; the panel of each row;
 * steps[blocks][rows], at most `longest`; so many of them at most in a segment. parts: of each
 * panel, as above: blocks, or 1. */
typedef struct {
    int rows, blocks, panels, parts;
    const int64_t *panel, *steps;
    int64_t longest, limit;
} sp_csr_rows;
/* How many segments they take: count = rows * blocks. */
int64_t sp_count_csr_segments(const int64_t *steps, int64_t count, int64_t limit);
/* start: the first step of each row in a block, [blocks][rows]. part_start: of each part. scratch:
 * panels * (blocks + 1) + longest + 2 + rows. ordered: [blocks * rows], scratch, too. */
void sp_order_csr(const sp_csr_rows *rows, int64_t *scratch, int32_t *ordered, int64_t *start,
                  sp_csr_segment *segments, int32_t *part_segment, int64_t *part_start);

/* SP_GEMM_CSR_S8 takes it, too, for y[m][n] = sum_k x[m][k] w[n][k] + bias[n] modulo 2^32: the
 * batch is m, in_c is k, out_c is n, all else 1; lanes are gathered. Of the epilogue it reads the
 * bias. */
typedef struct {
    sp_conv_shape shape;
    sp_csr_lanes lanes;
    sp_csr_matrix matrix;
    int ukernel;
    int nhwc;         /* 1: order of input, residual and output. Sixteen rows, from a multiple of
                         sixteen on, are then in one panel */
    int x_zero_point; /* read by padded taps */
    int window;       /* pairs, blocks: how many may be added in int16 */
    sp_epilogue epilogue;
} sp_conv_csr_s8;

/* Dense float32 convolution, nhwc: clamp(conv + bias + residual). weights: packed per group as
 * [panels][K][nr], K in the order (kernel_h, kernel_w, in_c / groups), zero-filled to whole panels,
 * and bias likewise as [panels][nr]. A depthwise convolution (groups == in_c == out_c > 1) has a
 * micro-kernel of its own, weights [kernel_h][kernel_w][C] and bias [C]. */
typedef struct {
    sp_conv_shape shape;
    int ukernel;
    const float *weights;
    const float *bias;
    float lo, hi;
    int has_residual;
} sp_conv_f32;

/* Dense 3x3 float32 convolution, nhwc, stride 1, dilation 1, one group, by the Winograd transform
 * F(4x4, 3x3): csrc/conv_f32/winograd.h has the arithmetic. At least 16 input channels. products:
 * the gemm_f32 micro-kernel, of the same instruction set as `ukernel`. weights: transformed,
 * [panels][36][in_c][nr] for its nr, zero-filled to whole panels, and bias likewise. */
typedef struct {
    sp_conv_shape shape;
    int ukernel, products;
    const float *weights;
    const float *bias;
    float lo, hi;
    int has_residual;
} sp_winograd_f32;

/* Sparse float32 convolution of slabs: clamp(conv + bias + residual). A slab is SP_SLAB_WIDTH
 * neighbouring pixels of the whole batch, [channels][SP_SLAB_WIDTH]; lanes beyond the last pixel
 * may hold anything. Entries count lanes: in_place, which is for 1x1 with stride 1 and no padding,
 * from the first of their part's channels, else in [channels of the part][taps][SP_SLAB_WIDTH]. */
enum { SP_SLAB_WIDTH = 64 };
typedef struct {
    sp_conv_shape shape;
    sp_csr_matrix matrix;
    int ukernel, in_place;
    const float *bias; /* [O] */
    float lo, hi;
    int has_residual;
} sp_conv_csr_f32;

/* Dynamic quantization. A range is two floats, the scale and the zero point, found in each run. Of
 * any layout: x to its range; x and its range to bytes. */
typedef struct {
    int64_t count;
} sp_dynamic_range;
typedef struct {
    int64_t count;
} sp_dynamic_quantize;

/* From sums to floats by the range: sum less zero_point * weight_sum, modulo 2^32, then
 * clamp(sum * (scale * weight_scale) + bias). */
typedef struct {
    const int32_t *weight_sum;        /* [O], modulo 2^32; depthwise layers do not read it */
    const float *weight_scale, *bias; /* [O] */
    float lo, hi;
} sp_dynamic_real;

/* Convolution of one group, nhwc, of bytes and their range. product: its epilogue, quad_place and
 * zero point are unused. */
typedef struct {
    sp_conv_s8 product;
    sp_dynamic_real real;
} sp_dynamic_conv;
typedef struct {
    sp_winograd_s8 product;
    sp_dynamic_real real;
} sp_dynamic_winograd;

/* Depthwise convolution, nhwc, of bytes and their range. product: its bias is 0, its clamp unused;
 * float32 holds its sums. */
typedef struct {
    sp_conv_f32 product;
    sp_dynamic_real real;
} sp_dynamic_depthwise;

typedef struct {
    int64_t count;
    float scale;
    sp_range output;
} sp_quantize;

typedef struct {
    int64_t count;
    float scale;
    int zero_point;
} sp_dequantize;

typedef struct {
    int64_t count;
    int a_zero_point, b_zero_point;
    float a_multiplier, b_multiplier;
    sp_range output;
} sp_add_s8;

/* Of batch * pixels * channels elements; b has one value per (image, channel) where b_broadcast is
 * 1. */
typedef struct {
    int batch, pixels, channels, nhwc, b_broadcast;
    int a_zero_point, b_zero_point;
    float multiplier;
    sp_range output;
} sp_mul_s8;

/* One part of a concatenation: `outer` rows of `inner` bytes, written `out_stride` bytes apart. */
typedef struct {
    int64_t outer, inner, out_stride, out_offset;
    int copy; /* 1: copy the bytes; 0: rescale them */
    int x_zero_point;
    float multiplier;
    sp_range output;
} sp_concat_part;

typedef struct {
    int parts;
    const sp_concat_part *part;
} sp_concat_s8;

typedef struct {
    int64_t count;
    int x_zero_point;
    float multiplier;
    sp_range output;
} sp_rescale_s8;

/* Max and average pooling, nhwc; shape.groups is unused and out_c == in_c. */
typedef struct {
    sp_conv_shape shape;
} sp_max_pool_s8;

typedef struct {
    sp_conv_shape shape;
    int x_zero_point;
    const float *multiplier; /* [out_h * out_w] */
    sp_range output;
} sp_average_pool_s8;

typedef struct {
    int64_t count;
    const uint8_t *table; /* [256] */
} sp_table_s8;

/* Some channels, in any order, of elements of 1 or 4 bytes. A row is an image of planes (nchw) or a
 * pixel (nhwc): in_c units become out_c. */
enum {
    SP_SELECT_PLANES, /* nchw: one copy for each plane                                        */
    SP_SELECT_RUNS,   /* nhwc: few runs of neighbouring channels                              */
    SP_SELECT_PAIRS,  /* nhwc: y[2i] = x[channel[0] + i], y[2i + 1] = x[channel[1] + i]       */
    SP_SELECT_SINGLE, /* nhwc: one by one                                                     */
};
typedef struct {
    int from, to, count;
} sp_channel_run;

typedef struct {
    int64_t rows, unit; /* unit: bytes of one channel in a row */
    int in_c, out_c, form, runs;
    const int32_t *channel;    /* [out_c] */
    const sp_channel_run *run; /* [runs]  */
} sp_select_channels;

/* Float pooling, nhwc, as that of uint8. */
typedef struct {
    sp_conv_shape shape;
} sp_max_pool_f32;

typedef struct {
    sp_conv_shape shape;
    const float *divisor; /* [out_h * out_w] */
} sp_average_pool_f32;

/* clamp(a + b), or clamp(a * b) where product is 1; sizes as in sp_mul_s8. */
typedef struct {
    int batch, pixels, channels, nhwc, slab, b_broadcast, product;
    float lo, hi;
} sp_binary_f32;

/* A function of each element; pyinterp/ops/fused_float.py says what a and b are. */
enum {
    SP_CLIP,
    SP_HARD_SIGMOID,
    SP_HARD_SWISH,
    SP_SIGMOID,
    SP_SILU,
    SP_LEAKY_RELU,
    SP_ELU,
    SP_TANH,
    SP_GELU,
    SP_ACTIVATION_COUNT
};
typedef struct {
    int64_t count;
    int function;
    float a, b;
} sp_activation_f32;

/* Pixels picked by row and column, nhwc; a row of -1, and a run from -1, is filled. */
typedef struct {
    int batch, in_h, in_w, channels, out_h, out_w;
    int element_bytes; /* 1 or 4 */
    uint8_t fill[4];   /* an element */
    int runs;
    const int32_t *rows;       /* [out_h] */
    const sp_channel_run *run; /* [runs]: columns that are neighbours in input and output */
} sp_gather_pixels;

/* Blocks of pixels out of channels, nhwc: a pixel holds [out_c][block][block] elements where
 * channels_first is 1, else [block][block][out_c]. The result begins at (top, left) of the whole.
 */
typedef struct {
    int batch, in_h, in_w, out_c, out_h, out_w, block, channels_first, top, left;
    int element_bytes; /* 1 or 4 */
} sp_depth_to_space;

/* Separable resizing, nhwc, of bytes or floats. index, weight: [length][taps]. */
typedef struct {
    int batch, in_h, in_w, channels, out_h, out_w;
    int bytes, row_taps, column_taps;
    const int32_t *row_index, *column_index;
    const float *row_weight, *column_weight;
    int x_zero_point; /* bytes: this and what follows */
    float multiplier;
    sp_range output;
} sp_interpolate;

/* (x - mean) * inverse * scale + bias over channels, else over space; nhwc, bytes or floats. */
typedef struct {
    int64_t batch, pixels, channels;
    int bytes, over_channels;
    const float *scale, *bias; /* [channels] */
    double epsilon;
    float x_scale;    /* floats: 1 */
    int x_zero_point; /* bytes: this and the range */
    sp_range output;
} sp_normalize;

typedef struct {
    int64_t batch, pixels, channels;
    int nhwc, x_zero_point;
    float multiplier;
    const float *negative_multiplier; /* [channels] */
    sp_range output;
} sp_prelu_s8;

typedef struct {
    int64_t batch, pixels, channels;
    int nhwc;
    const float *slope; /* [channels] */
} sp_prelu_f32;

/* nchw <-> nhwc: transposes [batch][rows][columns] to [batch][columns][rows]. */
typedef struct {
    int batch, rows, columns, element_bytes; /* 1 or 4 */
} sp_transpose;

/* nhwc or nchw <-> slabs of float32. */
typedef struct {
    int batch, channels, pixels; /* of an image */
    int nhwc, to_slab;           /* the other order; 1: into slabs, 0: out of them */
} sp_slab;

/* nhwc or nchw <-> nc4hw4, [batch][(channels + 3) / 4][pixels][4]; channels beyond the last one
 * become 0. */
typedef struct {
    int batch, channels, pixels;
    int nhwc, to_words; /* the other order; 1: into nc4hw4, 0: out of it */
} sp_nc4hw4;

/* ---- running ---------------------------------------------------------------------------- */

enum {
    SP_CONV_S8,
    SP_DEPTHWISE_S8,
    SP_WINOGRAD_S8,
    SP_GEMM_S8,
    SP_CONV_CSR_S8,
    SP_CONV_BLOCK_S8,
    SP_GEMM_CSR_S8,
    SP_CONV_F32,
    SP_WINOGRAD_F32,
    SP_CONV_CSR_F32,
    SP_QUANTIZE,
    SP_DEQUANTIZE,
    SP_ADD_S8,
    SP_MUL_S8,
    SP_CONCAT_S8,
    SP_RESCALE_S8,
    SP_MAX_POOL_S8,
    SP_AVERAGE_POOL_S8,
    SP_TABLE_S8,
    SP_TRANSPOSE,
    SP_NC4HW4,
    SP_SLAB,
    SP_SELECT_CHANNELS,
    SP_MAX_POOL_F32,
    SP_AVERAGE_POOL_F32,
    SP_BINARY_F32,
    SP_ACTIVATION_F32,
    SP_GATHER_PIXELS,
    SP_DEPTH_TO_SPACE,
    SP_INTERPOLATE,
    SP_NORMALIZE,
    SP_PRELU_S8,
    SP_PRELU_F32,
    SP_GROUPED_S8,
    SP_DYNAMIC_RANGE,
    SP_DYNAMIC_QUANTIZE,
    SP_DYNAMIC_CONV,
    SP_DYNAMIC_WINOGRAD,
    SP_DYNAMIC_DEPTHWISE,
    SP_OP_COUNT
};

/* A value: `offset` bytes into the memory block `slot` of a run. */
typedef struct {
    int slot;
    int64_t offset;
} sp_ref;

typedef struct {
    int op;             /* SP_CONV_S8, ...                         */
    int inputs;         /* how many of `input` are used            */
    const void *params; /* the operator's struct                   */
    const sp_ref *input;
    sp_ref output;
} sp_step;

/* Bytes of scratch memory one thread needs for a step. */
size_t sp_scratch_bytes(int op, const void *params);

/* Run steps in order. No step's output overlaps one of its inputs. blocks: memory blocks that
 * sp_ref.slot counts. scratch: 64-byte aligned, `threads` times the largest sp_scratch_bytes
 * rounded up to 64. The result does not depend on `threads`. Safe from several threads at once,
 * with blocks and scratch of their own. */
void sp_run(const sp_step *steps, int count, void *const *blocks, void *scratch,
            size_t scratch_per_thread, int threads);

/* Time of each step in seconds, for explain() and tuning: as sp_run, with `seconds` [count]. */
void sp_run_timed(const sp_step *steps, int count, void *const *blocks, void *scratch,
                  size_t scratch_per_thread, int threads, double *seconds);

/* ---- measuring -------------------------------------------------------------------------- */

/* Peak rate of an instruction mix on this core, in 1e9 multiply-accumulates a second, measured
 * over about `seconds`: "vpmaddwd" (int16 pairs), "vpmaddubsw" (windows of eight), "vpdpbusd",
 * "tdpbusd" (tile registers), "fma". -1 where it cannot run. */
double sp_peak_gmacs(const char *mix, double seconds);
