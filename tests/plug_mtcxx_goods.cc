/*
 * plug_mtcxx_goods.cc - a plugin for prog_mtcxx.cc; plug_mtcxx_faults.cc is the other.
 *
 * It throws what it makes itself, and lets the exceptions of others pass through its
 * frames, which hold memory.
 */
#include "mtcxx_case.h"

namespace {

std::atomic<std::uint64_t> *destroyed; /* the host counts */

struct Box : Parcel {
    std::vector<std::shared_ptr<std::string>> texts;

    explicit Box(std::uint64_t seed)
    {
        std::uint64_t state = seeded(seed ^ 0x60d5);
        for (unsigned i = 0; i < 10; i++)
            texts.push_back(std::make_shared<std::string>(make_text(state, 500)));
        texts.push_back(texts.front());
    }
    std::uint64_t sum() const override
    {
        std::uint64_t total = 1;
        for (const auto &text : texts)
            total = mix(total, sum_of(*text));
        return total;
    }
};

/* Dies with its thread, maybe long after dlclose. */
struct Memory {
    std::map<std::uint64_t, std::string> notes;
    std::unique_ptr<Page> page{new Page};

    ~Memory()
    {
        notes.clear();
        auto last = std::make_unique<std::vector<std::string>>(40, std::string(300, 'x'));
        *destroyed += last->size() == 40 && is_aligned(page.get());
    }
};

thread_local Memory memory;

Goods *make(std::uint64_t seed)
{
    return make_goods(seed);
}

std::uint64_t eat(Goods *goods)
{
    std::uint64_t sum = goods->sum();
    delete goods;
    return sum;
}

Parcel *wrap(std::uint64_t seed)
{
    return new Box(seed);
}

std::shared_ptr<Line> share(std::uint64_t seed)
{
    auto line = std::make_shared<Line>();
    write_words(*line, seeded(seed));
    return line;
}

void fail(std::uint64_t seed, unsigned depth)
{
    std::string ballast(100 + depth * 300, 'b');
    if (depth > 0) {
        fail(seed, depth - 1);
        ballast += ' ';
    }
    if (seed % 3 == 0)
        throw Fault("goods: " + ballast, seed);
    if (seed % 3 == 1)
        throw std::length_error("goods: " + std::to_string(seed) + ballast);
    throw std::string("goods: a text") + ballast;
}

std::exception_ptr capture(std::uint64_t seed)
{
    try {
        fail(seed, 3);
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

void relay(const std::function<void()> &call, std::uint64_t seed)
{
    std::unique_ptr<Goods> mine(make_goods(seed));
    call();
}

std::uint64_t remember(std::uint64_t seed)
{
    std::uint64_t state = seeded(seed);
    std::string &note = memory.notes[seed % 50];
    note = make_text(state, 3000);
    return sum_of(note);
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
