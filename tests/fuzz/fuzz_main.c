/*
 * fuzz_main.c - runs a fuzz harness over files: the corpus, or one reproducer.
 *
 * NAME [FILE | DIRECTORY]...   without arguments: one input from stdin, which is how
 *                              AFL++ and other fuzzers can drive it
 * Exit: 0 all inputs went well, 2 a file could not be read. A finding ends it by SIGABRT.
 */
#define _GNU_SOURCE 1
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

#include "fuzz.h"

enum { INPUT_MAX = 1 << 20 };

static unsigned inputs;
static const char *current = "stdin";

__attribute__((noreturn)) static void cannot(const char *path)
{
    fprintf(stderr, "fuzz: %s cannot be read\n", path);
    exit(2);
}

/* The input lies in a block of exactly its size: the sanitizer sees a byte read behind it. */
static void run_stream(FILE *stream)
{
    static uint8_t buffer[INPUT_MAX];
    size_t size = fread(buffer, 1, sizeof buffer, stream);
    uint8_t *exact = malloc(size);
    if (exact == NULL && size != 0)
        exit(2);
    if (size != 0)
        memcpy(exact, buffer, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    inputs++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        cannot(path);
    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_path(name);
        free(entries[i]);
    }
    free(entries);
}

static void run_path(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0)
        cannot(path);
    if (S_ISDIR(about.st_mode)) {
        run_directory(path);
        return;
    }
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        cannot(path);
    current = path;
    run_stream(stream);
    fclose(stream);
}

/* Names the input that was under way; what was wrong with it has been said. */
static void say_current(int number)
{
    char line[4200];
    int len = snprintf(line, sizeof line, "fuzz: the input is %s\n", current);
    if (write(STDERR_FILENO, line, (size_t)len) == len)
        signal(number, SIG_DFL);
    raise(number);
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    signal(SIGABRT, say_current);
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    if (argc == 1)
        run_stream(stdin);
    printf("fuzz: %u inputs replayed\n", inputs);
    return inputs != 0 ? 0 : 2;
}
