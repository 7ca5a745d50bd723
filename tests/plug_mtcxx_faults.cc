/*
 * plug_mtcxx_faults.cc - a plugin for prog_mtcxx.cc; plug_mtcxx_goods.cc is the other.
 *
 * It works with threads of its own and hands their exceptions over by promises; what
 * comes from others it catches, wraps into an exception of its own and throws again.
 */
#include <future>
#include <thread>

#include "mtcxx_case.h"

namespace {

std::atomic<std::uint64_t> *destroyed; /* the host counts */

/* An exception within an exception, and a buffer of Mid. */
struct Wrapped : Fault, std::nested_exception {
    std::vector<std::uint64_t> words;

    explicit Wrapped(std::uint64_t seed) : Fault("faults: wrapped", seed), words(1000, seed)
    {
        std::uint64_t inner = sum_of(nested_ptr());
        code = mix(inner, words.back());
    }
};

struct Sack : Parcel {
    std::map<std::string, std::unique_ptr<Line[]>> lines;

    explicit Sack(std::uint64_t seed)
    {
        std::uint64_t state = seeded(seed ^ 0x5ac);
        for (unsigned i = 0; i < 5; i++) {
            auto &row = lines[make_text(state, 60) + std::to_string(i)];
            row.reset(new Line[3]);
            for (unsigned k = 0; k < 3; k++)
                write_words(row[k], draw(state));
        }
    }
    std::uint64_t sum() const override
    {
        std::uint64_t total = 2;
        for (const auto &entry : lines)
            total = mix(total, sum_of(entry.first) + sum_block(&entry.second[2]));
        return total;
    }
};

struct Memory {
    std::vector<std::shared_ptr<std::string>> notes;

    ~Memory()
    {
        auto rest = std::make_shared<std::string>(5000, 'y');
        notes.insert(notes.begin(), rest);
        notes.clear();
        *destroyed += rest.use_count() == 1;
    }
};

thread_local Memory memory;

Goods *make(std::uint64_t seed)
{
    Goods *goods = nullptr;
    std::thread([&] { goods = make_goods(seed); }).join();
    return goods;
}

std::uint64_t eat(Goods *goods)
{
    return std::async(std::launch::async,
                      [goods] {
                          std::unique_ptr<Goods> mine(goods);
                          return mine->sum();
                      })
        .get();
}

Parcel *wrap(std::uint64_t seed)
{
    return new Sack(seed);
}

std::shared_ptr<Line> share(std::uint64_t seed)
{
    std::shared_ptr<Line> line(new Line[4], [](Line *all) { delete[] all; });
    write_words(*line, seeded(seed));
    return line;
}

void fail(std::uint64_t seed, unsigned depth)
{
    std::vector<std::string> ballast(depth + 1, std::string(depth * 100, 'c'));
    if (depth > 0)
        fail(seed, depth - 1);
    throw Fault("faults: " + ballast[0], seed + ballast.size());
}

/* Thrown in one thread, kept by a promise, taken in another. */
std::exception_ptr capture(std::uint64_t seed)
{
    std::promise<std::string> promise;
    auto future = promise.get_future();
    std::thread thrower([&promise, seed] {
        try {
            fail(seed, 2);
        } catch (...) {
            promise.set_exception(std::current_exception());
        }
    });
    thrower.join();
    try {
        future.get();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

void relay(const std::function<void()> &call, std::uint64_t seed)
{
    try {
        call();
    } catch (...) {
        throw Wrapped(seed);
    }
}

std::uint64_t remember(std::uint64_t seed)
{
    std::uint64_t state = seeded(seed);
    if (memory.notes.size() >= 30)
        memory.notes.erase(memory.notes.begin(), memory.notes.begin() + 20);
    memory.notes.push_back(std::make_shared<std::string>(make_text(state, 4000)));
    return sum_of(*memory.notes.back());
}

void count_in(std::atomic<std::uint64_t> *counter)
{
    destroyed = counter;
}

} // namespace

extern "C" {
extern const Plugin mtcxx_plugin;
const Plugin mtcxx_plugin = {make, eat, wrap, share, fail, capture, relay, remember, count_in};
}
