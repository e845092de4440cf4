/* Does the deed that its first argument names. */
#include "deeds.h"

char buffer[1 << 16];
char marked[200] = "/tmp/";
struct iovec piece = {buffer, 16};

extern const struct deed __start_deeds[], __stop_deeds[];

void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        _exit(97);
}

long ended(long child)
{
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, __WALL);
    return child;
}

long touch_all(char *memory, size_t size)
{
    if (memory == MAP_FAILED || memory == NULL)
        return -1;
    for (size_t at = 0; at < size; at += 4096)
        ((volatile char *)memory)[at] = 1;
    return 0;
}

int main(int count, char **values)
{
    if (count > 2)
        strncat(marked, values[2], 100);
    for (const struct deed *deed = __start_deeds; count > 1 && deed < __stop_deeds; deed++) {
        if (strcmp(deed->name, values[1]) != 0)
            continue;
        if (strcmp(deed->name, "add_up") != 0)
            say("ready\n");
        errno = 0;
        if (deed->run() >= 0) {
            say("escaped\n");
        } else {
            snprintf(buffer, 100, "refused %d\n", errno);
            say(buffer);
        }
        return 0;
    }
    return 98;
}
