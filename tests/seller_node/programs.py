"""Small programs for the jail, compiled once for all tests that want them."""

import functools

from tests.seccomp.running import compile_static, open_folder

SOURCES = {
    "echo": """
        #include <unistd.h>
        int main(int n, char **a) {
            char b[4096]; long got;
            for (int i = 1; i < n; i++) {
                long l = 0; while (a[i][l]) l++;
                write(2, a[i], l); write(2, " ", 1);
            }
            while ((got = read(0, b, sizeof b)) > 0)
                for (long done = 0, put; done < got; done += put)
                    if ((put = write(1, b + done, got - done)) < 0) return 9;
            return n - 1;
        }""",
    "spin": "int main(void) { for (volatile long i = 0;; i++) ; }",
    "flood": """
        #include <unistd.h>
        static char b[65536];
        int main(void) { while (write(1, b, sizeof b) > 0) ; return 1; }""",
    "polite": """
        #include <signal.h>
        #include <unistd.h>
        static void finish(int number) { write(1, "finished", 8); _exit(0); }
        int main(void) { signal(SIGQUIT, finish); write(1, "ready, ", 7); for (;;) ; }""",
    "crash": "int main(void) { __builtin_trap(); }",
    "connect": """
        #include <sys/socket.h>
        int main(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0; }""",
}


@functools.cache
def program(name: str) -> bytes:
    with open_folder() as folder:
        return compile_static(SOURCES[name], folder / name)
