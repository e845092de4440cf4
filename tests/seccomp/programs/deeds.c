/* What a C program may want of its machine, one deed each: named by its first argument. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifndef __wasm__
#include <pthread.h>
#include <signal.h>
#endif

static int echo(void) {
    char block[4096];
    size_t length;
    while ((length = fread(block, 1, sizeof block, stdin)) > 0) fwrite(block, 1, length, stdout);
    return 7;
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int compute(void) {
    enum { COUNT = 300000 };
    int *values = malloc(COUNT * sizeof *values);
    for (long i = 0; i < COUNT; i++) values[i] = (int)(i * 7919 % 300007);
    qsort(values, COUNT, sizeof *values, compare);
    printf("%d %d %.6f %s\n", values[0], values[COUNT - 1], sqrt(2.0), getenv("HOME") ? "home" : "no home");
    return 0;
}

static int rest(void) {
    struct timespec before, after, pause = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double passed = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    puts(passed >= 0.02 && time(NULL) > 1000000 ? "rested" : "no rest");
    return 0;
}

static int memory(void) {
    const size_t piece = 1 << 20;
    for (int i = 0; i < 300; i++) {
        char *block = malloc(piece);
        if (block == NULL) return puts("no memory") < 0;
        memset(block, i, piece);
        if (i % 3) free(block);
    }
    puts("100 MiB");
    return 0;
}

static int hog(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (block == NULL) return 9;
        memset(block, 1, 1 << 20);
    }
}

static int file(void) {
    FILE *opened = fopen("/etc/passwd", "r");
    puts(opened ? "a file" : "no file");
    return opened != NULL;
}

#ifndef __wasm__
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void *add(void *nothing) {
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&lock);
        sum++;
        pthread_mutex_unlock(&lock);
    }
    return nothing;
}

static int threads(void) {
    pthread_t made[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&made[i], NULL, add, NULL)) return 1;
    for (int i = 0; i < 4; i++) pthread_join(made[i], NULL);
    printf("%ld\n", sum);
    return 0;
}

static volatile sig_atomic_t asked;
static void ask(int number) { asked = number; }

static int quit(void) {
    signal(SIGQUIT, ask);
    puts("ready");
    fflush(stdout);
    while (!asked) usleep(1000);
    puts("finished in time");
    return 5;
}
#endif

int main(int count, char **values) {
    const struct { const char *name; int (*deed)(void); } deeds[] = {
        {"echo", echo}, {"compute", compute}, {"rest", rest}, {"memory", memory}, {"hog", hog}, {"file", file},
#ifndef __wasm__
        {"threads", threads}, {"quit", quit},
#endif
    };
    for (unsigned i = 0; i < sizeof deeds / sizeof deeds[0]; i++)
        if (count > 1 && !strcmp(values[1], deeds[i].name)) return deeds[i].deed();
    fprintf(stderr, "%d arguments, the last is %s\n", count, values[count - 1]);
    puts("hello");
    return 3;
}
