"""The C functions of the layers, each with the structure that holds its numbers. Maps lie position by position."""

SHIFT_DOWN = """\
/* value / 2^shift, rounded down; written so that no negative number is shifted. */
static int32_t shift_down(int32_t value, int32_t shift)
{
    return value < 0 ? ~(~value >> shift) : value >> shift;
}
"""

CUT = """\
static int8_t cut(int32_t value, int32_t lowest)
{
    if (value < lowest) {
        value = lowest;
    }
    return (int8_t)(value > 127 ? 127 : value);
}
"""

REQUANTISE = """\
/* value * multiplier / 2^shift, rounded, halves up. */
static int32_t requantise(int32_t value, int32_t multiplier, int32_t shift)
{
    int64_t product = (int64_t)value * multiplier + ((int64_t)1 << (shift - 1));
    return (int32_t)(product < 0 ? ~(~product >> shift) : product >> shift);
}
"""

FLOAT_INPUT = """\
typedef struct {
    const uint16_t *channel;
    const float *centre;
    const float *factor;
    int32_t channels, length, zero;
} view;

/* Raw windows, channel after channel, to int8, position after position; halves are rounded up. */
static void standardise(const view *v, const float *window, int8_t *out)
{
    int32_t c, t;
    for (t = 0; t < v->length; t++) {
        for (c = 0; c < v->channels; c++) {
            float value = (window[v->channel[c] * v->length + t] - v->centre[c]) * v->factor[c];
            int32_t whole;
            float rest;
            if (value != value) {
                value = 0.0f; /* not a number: the mean of the channel */
            } else if (value > 512.0f) {
                value = 512.0f;
            } else if (value < -512.0f) {
                value = -512.0f;
            }
            whole = (int32_t)value;
            rest = value - (float)whole;
            if (rest >= 0.5f) {
                whole++;
            } else if (rest < -0.5f) {
                whole--;
            }
            *out++ = cut(whole + v->zero, -128);
        }
    }
}
"""

INTEGER_INPUT = """\
typedef struct {
    const uint16_t *channel;
    const int32_t *centre;
    const int32_t *multiplier;
    int32_t channels, length, shift, zero;
} view;

/* Raw windows, channel after channel, to int8, position after position. */
static void standardise(const view *v, const int16_t *window, int8_t *out)
{
    int32_t c, t;
    for (t = 0; t < v->length; t++) {
        for (c = 0; c < v->channels; c++) {
            int32_t value = (int32_t)window[v->channel[c] * v->length + t] * 256 - v->centre[c];
            *out++ = cut(requantise(value, v->multiplier[c], v->shift) + v->zero, -128);
        }
    }
}
"""

CONVOLUTION = """\
typedef struct {
    const int8_t *weight; /* output channel, tap, input channel of the group */
    const int32_t *bias;
    const int32_t *multiplier;
    int32_t in_channels, in_length, out_channels, out_length, out_row;
    int32_t taps, stride, padding, dilation, group_in, group_out;
    int32_t shift, zero_in, zero_out, lowest;
} convolution;

/*
 * To int8 in out or, of the last layer, to int32 in logits; the other one is null. Samples outside of the map are zero:
 * the taps that fall there are left out. The two loops of a sum become one where weights and samples allow that.
 */
static void convolve(const convolution *l, const int8_t *in, int8_t *out, int32_t *logits)
{
    const int32_t tap_step = l->dilation * l->in_channels;
    int32_t t, o;
    for (t = 0; t < l->out_length; t++) {
        int32_t position = t * l->stride - l->padding;
        int32_t first = position < 0 ? (l->dilation - 1 - position) / l->dilation : 0;
        int32_t end = (l->in_length - position + l->dilation - 1) / l->dilation;
        int32_t outer, inner = l->group_in, step = 1;
        outer = (end < l->taps ? end : l->taps) - first;
        if (inner == 1) {
            inner = outer;
            outer = 1;
            step = tap_step;
        } else if (inner == tap_step) {
            inner *= outer;
            outer = 1;
        }
        for (o = 0; o < l->out_channels; o++) {
            const int8_t *weight = l->weight + (o * l->taps + first) * l->group_in;
            const int8_t *start = in + position * l->in_channels + first * tap_step + o / l->group_out * l->group_in;
            const int32_t zero = l->zero_in;
            int32_t sum = l->bias[o];
            int32_t i, j;
            for (j = 0; j < outer; j++) {
                const int8_t *x = start + j * tap_step;
                for (i = 0; i < inner; i++) {
                    sum += (int32_t)*weight++ * (*x - zero);
                    x += step;
                }
            }
            sum = requantise(sum, l->multiplier[o], l->shift) + l->zero_out;
            if (logits != 0) {
                logits[t * l->out_row + o] = sum;
            } else {
                out[t * l->out_row + o] = cut(sum, l->lowest);
            }
        }
    }
}
"""

AFFINE = """\
typedef struct {
    const int32_t *multiplier;
    const int32_t *bias;
    int32_t channels, length, out_row, shift, lowest;
} affine;

static void scale(const affine *l, const int8_t *in, int8_t *out)
{
    int32_t t, c;
    for (t = 0; t < l->length; t++) {
        for (c = 0; c < l->channels; c++) {
            int32_t value = *in++ * l->multiplier[c] + l->bias[c];
            out[t * l->out_row + c] = cut(shift_down(value, l->shift), l->lowest);
        }
    }
}
"""

ADDITION = """\
typedef struct {
    int32_t first, second, bias, channels, length, out_row, shift, lowest;
} addition;

static void add(const addition *l, const int8_t *in, const int8_t *other, int8_t *out)
{
    int32_t t, c;
    for (t = 0; t < l->length; t++) {
        for (c = 0; c < l->channels; c++) {
            int32_t value = *in++ * l->first + *other++ * l->second + l->bias;
            out[t * l->out_row + c] = cut(shift_down(value, l->shift), l->lowest);
        }
    }
}
"""

AVERAGE = """\
typedef struct {
    int32_t channels, out_length, out_row, samples, step, multiplier, shift, zero_in, zero_out;
} average;

static void mean(const average *l, const int8_t *in, int8_t *out)
{
    int32_t t, c, i;
    for (t = 0; t < l->out_length; t++) {
        for (c = 0; c < l->channels; c++) {
            const int8_t *x = in + t * l->step * l->channels + c;
            int32_t sum = 0;
            for (i = 0; i < l->samples; i++) {
                sum += x[i * l->channels] - l->zero_in;
            }
            out[t * l->out_row + c] = cut(requantise(sum, l->multiplier, l->shift) + l->zero_out, -128);
        }
    }
}
"""
