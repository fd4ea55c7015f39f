/* Makes the system calls that it is told, and says what became of each:
 *
 *     probe FILTER CALL...
 *
 * FILTER is a file with a program of struct sock_filter that is loaded first, or "-". A CALL is NUMBER[,ARGUMENT]..., with a
 * "~" in front for one of i386 (int 0x80). For each there is a line with what the kernel returned. The probe's own calls
 * that are under the filter have MAGIC as their sixth argument, which none of them looks at.
 *
 * No C library: the same source makes a program of 64 and of 32 bits, without the headers and libraries of either.
 */
#define MAGIC 0x70726f62

typedef unsigned long word;

#if defined(__x86_64__)
enum { WRITE = 1, OPENAT = 257, READ = 0, EXIT = 231, PRCTL = 157, SECCOMP = 317 };
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");

static long call(word number, const word *a) {
    long result;
    register word r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The sixth argument of i386 is in ebp, which belongs to the compiler; it stays what it is. */
static long call_32(word number, const word *a) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
}
#elif defined(__i386__)
enum { WRITE = 4, OPENAT = 295, READ = 3, EXIT = 252, PRCTL = 172, SECCOMP = 354 };
__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call start\n");

static long call(word number, const word *a) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]) : "memory");
    return result;
}
#define call_32 call
#elif defined(__aarch64__)
enum { WRITE = 64, OPENAT = 56, READ = 63, EXIT = 94, PRCTL = 167, SECCOMP = 277 };
__asm__(".globl _start\n_start: mov x0, sp\n bl start\n");

static long call(word number, const word *a) {
    register word x8 __asm__("x8") = number, x0 __asm__("x0") = a[0], x1 __asm__("x1") = a[1], x2 __asm__("x2") = a[2],
                      x3 __asm__("x3") = a[3], x4 __asm__("x4") = a[4], x5 __asm__("x5") = a[5];
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return (long)x0;
}
#define call_32 call
#endif

static word length(const char *text) {
    word n = 0;
    while (text[n]) n++;
    return n;
}

static void say(const char *text, word n) {
    word a[6] = {1, (word)text, n, 0, 0, MAGIC};
    call(WRITE, a);
}

__attribute__((noreturn)) static void end(word status) {
    word a[6] = {status, 0, 0, 0, 0, MAGIC};
    call(EXIT, a);
    for (;;) {}
}

static const char *number(const char *text, word *value) {
    word base = 10;
    if (text[0] == '0' && text[1] == 'x') {
        base = 16;
        text += 2;
    }
    *value = 0;
    for (;; text++) {
        if (*text >= '0' && *text <= '9')
            *value = *value * base + (word)(*text - '0');
        else if (base == 16 && *text >= 'a' && *text <= 'f')
            *value = *value * base + (word)(*text - 'a' + 10);
        else
            return text;
    }
}

static void say_number(long value) {
    char digits[24];
    word at = sizeof digits, rest = value < 0 ? -(word)value : (word)value;
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) digits[--at] = '-';
    say(digits + at, sizeof digits - at);
}

static char filter[8 * 4096];

static void load(const char *file) {
    struct { unsigned short count; const char *filter; } program = {0, filter};
    word open[6] = {(word)-100, (word)file, 0, 0, 0, 0}; /* AT_FDCWD */
    long fd = call(OPENAT, open);
    word read[6] = {(word)fd, (word)filter, sizeof filter, 0, 0, 0};
    long size = call(READ, read);
    word no_new_privileges[6] = {38, 1, 0, 0, 0, 0};
    word set_mode_filter[6] = {1, 0, (word)&program, 0, 0, 0};
    program.count = (unsigned short)(size / 8);
    if (fd < 0 || size <= 0 || call(PRCTL, no_new_privileges) || call(SECCOMP, set_mode_filter)) end(2);
}

__attribute__((used, noreturn)) void start(word *stack) {
    word count = stack[0];
    char **args = (char **)(stack + 1);
    if (count < 2) end(2);
    if (length(args[1]) != 1 || args[1][0] != '-') load(args[1]);
    for (word i = 2; i < count; i++) {
        const char *text = args[i];
        int is_32 = *text == '~';
        word nr, a[6] = {0};
        text = number(text + is_32, &nr);
        for (word at = 0; at < 6 && *text == ','; at++) text = number(text + 1, &a[at]);
        say_number(is_32 ? call_32(nr, a) : call(nr, a));
    }
    end(0);
}
