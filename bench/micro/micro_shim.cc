/*
 * micro_shim.cc - see micro.h: a C face for Google Benchmark.
 */
#include "micro.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

using micro_clock = std::chrono::steady_clock;

struct micro {
    benchmark::State *state;
    micro_clock::time_point from;
    micro_clock::duration spent;
};

static std::atomic<bool> micro_failed, micro_ran;

/* ---- for the benches ---------------------------------------------------------------------- */

static void run_body(benchmark::State &state, const micro_bench &bench)
{
    micro run = {&state, {}, {}};
    micro_ran = true;
    bench.body(&run, &bench);
    if (bench.clocked)
        state.SetIterationTime(std::chrono::duration<double>(run.spent).count());
}

void micro_add(const struct micro_bench *given)
{
    micro_bench bench = *given;
    auto body = [bench](benchmark::State &state) { run_body(state, bench); };
    benchmark::internal::Benchmark *entry = benchmark::RegisterBenchmark(bench.name, body);
    std::vector<int64_t> args;
    for (int64_t arg : bench.args) {
        if (arg == 0)
            break;
        args.push_back(arg);
    }
    if (!args.empty())
        entry->Args(args);
    if (bench.threads > 0)
        entry->Threads(bench.threads);
    if (bench.clocked)
        entry->UseManualTime();
    if (bench.operations > 0)
        entry->Iterations(bench.operations);
}

void micro_context(const char *key, const char *value)
{
    benchmark::AddCustomContext(key, value);
}

size_t micro_next(struct micro *run, size_t batch)
{
    return run->state->KeepRunningBatch(static_cast<benchmark::IterationCount>(batch)) ? batch : 0;
}

void micro_start(struct micro *run)
{
    run->from = micro_clock::now();
}

void micro_stop(struct micro *run)
{
    run->spent += micro_clock::now() - run->from;
}

void micro_mean(struct micro *run, const char *name, double total)
{
    run->state->counters[name] =
        benchmark::Counter(total, benchmark::Counter::kAvgIterations, benchmark::Counter::kIs1000);
}

void micro_items(struct micro *run, int64_t total)
{
    run->state->SetItemsProcessed(total);
}

void micro_fail(struct micro *run, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    micro_failed = true;
    if (!run->state->error_occurred()) /* the first words count */
        run->state->SkipWithError(text);
}

/* ---- the program -------------------------------------------------------------------------- */

static bool has_flag(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], flag, strlen(flag)) == 0)
            return true;
    return false;
}

/* Google Benchmark takes any number here, and then measures nothing. */
static bool is_time_bad(int argc, char **argv)
{
    static const char flag[] = "--benchmark_min_time=";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], flag, sizeof flag - 1) != 0)
            continue;
        double seconds = strtod(argv[i] + sizeof flag - 1, NULL);
        if (!std::isfinite(seconds) || seconds <= 0) {
            fprintf(stderr, "%s: %s: not a time above 0\n", argv[0], argv[i]);
            return true;
        }
    }
    return false;
}

/* Google Benchmark explains its flags and calls exit(0) when one has a value that it does not
 * know. That is no success. */
static bool micro_in_flags;

static void end_in_flags()
{
    if (!micro_in_flags)
        return;
    fflush(stdout);
    fputs("bad value of a flag\n", stderr);
    _exit(2);
}

int micro_main(int argc, char **argv)
{
    bool lists = has_flag(argc, argv, "--benchmark_list_tests");
    if (is_time_bad(argc, argv))
        return 2;
    micro_in_flags = !has_flag(argc, argv, "--help");
    atexit(end_in_flags);
    benchmark::Initialize(&argc, argv);
    micro_in_flags = false;
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    size_t found = benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    if (found == 0 || (!lists && !micro_ran)) {
        fprintf(stderr, "%s: no bench was run\n", argv[0]);
        return 2;
    }
    return micro_failed ? 1 : 0;
}
