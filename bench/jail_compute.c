/* Steady compute: sieve or matrix, so many rounds; prints the answer and each round's ns as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NUMBERS = 4000000, SIDE = 320, TIMES = 6 /* in a round */ };
static unsigned char composite[NUMBERS];
static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static double sieve(void) {
    int primes = 0;
    memset(composite, 0, sizeof composite);
    for (int i = 2; i * i < NUMBERS; i++)
        if (!composite[i])
            for (int j = i * i; j < NUMBERS; j += i) composite[j] = 1;
    for (int i = 2; i < NUMBERS; i++) primes += !composite[i];
    return primes;
}

static double matrix(void) {
    double sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (i * 7 + j) % 11;
            b[i][j] = (i + j * 5) % 13;
            c[i][j] = 0;
        }
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++)
            for (int j = 0; j < SIDE; j++) c[i][j] += a[i][k] * b[k][j];
    for (int i = 0; i < SIDE; i++) sum += c[i][i];
    return sum;
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int count, char **values) {
    double (*kernel)(void) = !strcmp(values[1], "sieve") ? sieve : matrix;
    double answer = kernel(); /* the first touches the memory */
    int rounds = count > 2 ? atoi(values[2]) : 1;
    printf("{\"answer\": %.0f, \"ns\": [", answer);
    for (int i = 0; i < rounds; i++) {
        long long begun = now();
        for (int j = 0; j < TIMES; j++)
            if (kernel() != answer) return 1;
        printf("%s%lld", i ? ", " : "", now() - begun);
    }
    puts("]}");
    return 0;
}
