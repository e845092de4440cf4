/* The kernels of the benchmark: docs/benchmark.md says what each is for and how its work is counted.

   It reads lines `KERNEL SEED COUNT` and answers each with COUNT answers in hexadecimal, one for each piece of
   work. It has no clock: who asks measures the time. Every piece has a seed of its own, and its answer depends on
   all of the piece's work; answers.py finds the same answers another way.

   Answers are the same wherever it is compiled: integers are of 64 bits and wrap around, doubles are IEEE, each
   operation rounded by itself (-ffp-contract=off), and pairs of doubles are said here, not found by a compiler.

   native: cc -O2 -static -ffp-contract=off
   wasm:   clang --target=wasm32 -nostdlib -O2 -msimd128 -mbulk-memory -ffp-contract=off -Wl,--strip-all */

#include <stddef.h>
#include <stdint.h>

#define MOST_PIECES 4096 /* in one line */
#define WIDTH 131072     /* numbers that one sieve looks at, odd ones */
#define ROOT 92684       /* above the square root of the largest of them */
#define STEPS 16384      /* of one mix */
#define TABLE 1024
#define N 64            /* rows and columns of a matrix */
#define LENGTH 262144   /* doubles in each of triad's three arrays: 2 MiB */
#define PATTERN 256     /* after so many they repeat, so that few need to be computed to check */
#define PASSES 16

typedef double pair __attribute__((vector_size(16)));
typedef union {
    pair pairs[N][N / 2];
    double at[N][N];
} matrix;

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double next_double(uint64_t *state) /* from -1 to below 1 */
{
    return (double)(int64_t)(next(state) >> 11) * 0x1p-52 - 1.0;
}

static uint64_t bits(double value)
{
    union {
        double value;
        uint64_t bits;
    } as = {value};
    return as.bits;
}

static uint64_t stir(uint64_t hash, uint64_t word)
{
    return ((hash << 7 | hash >> 57) ^ word) * 0x9E3779B97F4A7C15u;
}

/* -- sieve: the sum of the primes among WIDTH odd numbers from somewhere between 2^32 and 2^33 */

static uint32_t primes[9000];
static uint32_t primes_count;
static uint8_t crossed[WIDTH];

static void find_small_primes(void)
{
    for (uint32_t n = 3; n < ROOT; n += 2)
        if (!crossed[n / 2]) {
            primes[primes_count++] = n;
            for (uint64_t multiple = (uint64_t)n * n; multiple < ROOT; multiple += 2 * n)
                crossed[multiple / 2] = 1;
        }
}

static uint64_t sieve(uint64_t state)
{
    uint64_t first = (1ull << 32) + (next(&state) >> 32 | 1), sum = 0;
    for (uint32_t i = 0; i < WIDTH; i++)
        crossed[i] = 0;
    for (uint32_t k = 0; k < primes_count; k++) {
        uint64_t prime = primes[k], multiple = (first + prime - 1) / prime * prime;
        if (multiple % 2 == 0)
            multiple += prime;
        for (uint64_t i = (multiple - first) / 2; i < WIDTH; i += prime)
            crossed[i] = 1;
    }
    for (uint32_t i = 0; i < WIDTH; i++)
        if (!crossed[i])
            sum += first + 2 * i;
    return sum;
}

/* -- mix: a chain in which each step needs the one before; shifts, a product, a table, an unforeseeable branch */

static uint64_t mix(uint64_t state)
{
    static uint64_t table[TABLE];
    for (uint32_t i = 0; i < TABLE; i++)
        table[i] = next(&state);
    uint64_t x = next(&state) | 1, y = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        y = (y + table[x % TABLE]) * 0x9E3779B97F4A7C15u;
        if (y >> 63)
            x += y >> 32 | 1;
        else
            table[y >> 32 & (TABLE - 1)] ^= x;
    }
    return stir(x, y);
}

/* -- matrix: a product; of small whole numbers, so that it is exact in any order of adding */

static matrix left, right, product;

static void fill_small(matrix *m, uint64_t *state)
{
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < N; j += 16) {
            uint64_t word = next(state);
            for (uint32_t k = 0; k < 16; k++, word >>= 4)
                m->at[i][j + k] = (double)((int)(word & 15) - 8);
        }
}

static uint64_t multiply(uint64_t state)
{
    uint64_t hash = 0;
    fill_small(&left, &state);
    fill_small(&right, &state);
    for (uint32_t i = 0; i < N; i += 2)
        for (uint32_t j = 0; j < N / 2; j += 4) {
            pair p = {0}, q = p, r = p, s = p, t = p, u = p, v = p, w = p;
            for (uint32_t k = 0; k < N; k++) {
                const pair *row = &right.pairs[k][j];
                pair one = {left.at[i][k], left.at[i][k]}, other = {left.at[i + 1][k], left.at[i + 1][k]};
                p += one * row[0], q += one * row[1], r += one * row[2], s += one * row[3];
                t += other * row[0], u += other * row[1], v += other * row[2], w += other * row[3];
            }
            pair *to = &product.pairs[i][j], *below = &product.pairs[i + 1][j];
            to[0] = p, to[1] = q, to[2] = r, to[3] = s;
            below[0] = t, below[1] = u, below[2] = v, below[3] = w;
        }
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < N; j++)
            hash = stir(hash, (uint64_t)(int64_t)product.at[i][j]);
    return hash;
}

/* -- lu: a matrix into its triangles, by the largest pivot of each column */

static uint64_t lu(uint64_t state)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < N; j++)
            left.at[i][j] = next_double(&state);
    for (uint32_t k = 0; k < N; k++) {
        uint32_t pivot = k;
        for (uint32_t i = k + 1; i < N; i++)
            if (__builtin_fabs(left.at[i][k]) > __builtin_fabs(left.at[pivot][k]))
                pivot = i;
        for (uint32_t j = 0; pivot != k && j < N / 2; j++) {
            pair row = left.pairs[k][j];
            left.pairs[k][j] = left.pairs[pivot][j];
            left.pairs[pivot][j] = row;
        }
        for (uint32_t i = k + 1; i < N; i++) {
            double factor = left.at[i][k] / left.at[k][k];
            pair both = {factor, factor};
            for (uint32_t j = (k + 1) / 2; j < N / 2; j++)
                left.pairs[i][j] -= both * left.pairs[k][j];
            left.at[i][k] = factor; /* which may have been the first of a pair */
        }
    }
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < N; j++)
            hash = stir(hash, bits(left.at[i][j]));
    return hash;
}

/* -- triad: a = b + s * c through arrays that are larger than most caches of one CPU */

static union {
    pair pairs[LENGTH / 2];
    double at[LENGTH];
} a, b, c;

static void pass(pair *restrict to, const pair *restrict from, double s)
{
    pair both = {s, s};
    for (uint32_t i = 0; i < LENGTH / 2; i++)
        to[i] = from[i] + both * c.pairs[i];
}

static uint64_t triad(uint64_t state)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PATTERN; i++) {
        b.at[i] = next_double(&state);
        c.at[i] = next_double(&state);
    }
    for (uint32_t i = PATTERN; i < LENGTH; i++) {
        b.at[i] = b.at[i - PATTERN];
        c.at[i] = c.at[i - PATTERN];
    }
    for (uint32_t i = 0; i < PASSES; i += 2) {
        pass(a.pairs, b.pairs, next_double(&state));
        pass(b.pairs, a.pairs, next_double(&state));
    }
    for (uint32_t i = 0; i < LENGTH; i++)
        sum += bits(b.at[i]);
    return sum;
}

/* -- the world: standard input and output */

#ifdef __wasm__
typedef struct {
    void *data;
    size_t size;
} vector;
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))
WASI("fd_read") int fd_read(int fd, const vector *vectors, size_t count, size_t *done);
WASI("fd_write") int fd_write(int fd, const vector *vectors, size_t count, size_t *done);
WASI("proc_exit") _Noreturn void proc_exit(int status);

static ptrdiff_t take(void *data, size_t size)
{
    vector one = {data, size};
    size_t done = 0;
    return fd_read(0, &one, 1, &done) ? -1 : (ptrdiff_t)done;
}

static ptrdiff_t give(const void *data, size_t size)
{
    vector one = {(void *)data, size};
    size_t done = 0;
    return fd_write(1, &one, 1, &done) ? -1 : (ptrdiff_t)done;
}
#else
#include <unistd.h>
#define take(data, size) read(0, data, size)
#define give(data, size) write(1, data, size)
#endif

static const struct {
    const char *name;
    uint64_t (*piece)(uint64_t seed);
} kernels[] = {{"sieve", sieve}, {"mix", mix}, {"matrix", multiply}, {"lu", lu}, {"triad", triad}};

static int get(void) /* the next character of the input, or -1 */
{
    static uint8_t buffer[256];
    static ptrdiff_t size, used;
    if (used == size) {
        used = 0;
        size = take(buffer, sizeof buffer);
        if (size <= 0)
            return size = 0, -1;
    }
    return buffer[used++];
}

static int get_number(uint64_t *number, int end) /* decimal, until `end`; whether it is one */
{
    int digits = 0, byte;
    for (*number = 0; (byte = get()) >= '0' && byte <= '9'; digits++)
        *number = *number * 10 + (uint64_t)(byte - '0');
    return digits && byte == end;
}

static int answer(uint64_t (*piece)(uint64_t), uint64_t seed, uint64_t count) /* whether all was taken */
{
    static char text[MOST_PIECES * 17];
    char *end = text;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t said = piece(seed + i * 0xD1B54A32D192ED03u);
        for (int shift = 60; shift >= 0; shift -= 4)
            *end++ = "0123456789abcdef"[said >> shift & 15];
        *end++ = i + 1 < count ? ' ' : '\n';
    }
    for (const char *at = text; at < end;) {
        ptrdiff_t done = give(at, (size_t)(end - at));
        if (done <= 0)
            return 0;
        at += done;
    }
    return 1;
}

static int serve(void) /* 0 at the end of the input, 1 where a line is none */
{
    find_small_primes();
    for (int byte; (byte = get()) >= 0;) {
        char name[8] = {0};
        uint64_t seed, count;
        for (uint32_t i = 0; byte > ' ' && i < sizeof name - 1; i++, byte = get())
            name[i] = (char)byte;
        if (byte != ' ' || !get_number(&seed, ' ') || !get_number(&count, '\n'))
            return 1;
        if (count < 1 || count > MOST_PIECES)
            return 1;
        uint32_t which = 0;
        for (; which < sizeof kernels / sizeof *kernels; which++) {
            uint32_t i = 0;
            while (i < sizeof name && name[i] == kernels[which].name[i] && name[i])
                i++;
            if (name[i] == kernels[which].name[i])
                break;
        }
        if (which == sizeof kernels / sizeof *kernels || !answer(kernels[which].piece, seed, count))
            return 1;
    }
    return 0;
}

#ifdef __wasm__
__attribute__((export_name("_start"))) void start(void)
{
    proc_exit(serve());
}
#else
int main(void)
{
    return serve();
}
#endif
