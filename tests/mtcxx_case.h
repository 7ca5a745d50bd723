/*
 * mtcxx_case.h - what prog_mtcxx.cc and its plugins hand to each other.
 *
 * The types are made of memory: strings, vectors, maps, shared pointers, aligned
 * blocks. Every module has code of its own for them, so that a block may be born in
 * one and die in another. All numbers follow from seeds alone: whichever thread does
 * what, the sums are the same.
 */
#ifndef MTCXX_CASE_H
#define MTCXX_CASE_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

/* The next number of a sequence (an xorshift with a multiplication). */
inline std::uint64_t draw(std::uint64_t &state)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dULL;
}

inline std::uint64_t seeded(std::uint64_t seed)
{
    return (seed + 1) * 0x9e3779b97f4a7c15ULL;
}

inline std::uint64_t mix(std::uint64_t sum, std::uint64_t value)
{
    return (sum ^ value) * 0x100000001b3ULL + 0x9e37;
}

inline std::uint64_t sum_of(const std::string &text)
{
    std::uint64_t sum = text.size();
    for (unsigned char c : text)
        sum = mix(sum, c);
    return sum;
}

/* ---- Aligned types ---- */

/* A cache line, and some pages: `new` must use the aligned forms for them. */
struct alignas(64) Line {
    std::uint64_t word[8];
};

struct alignas(4096) Page {
    std::uint64_t word[512];
};

struct alignas(4096) Leaf {
    std::uint64_t word[5 * 512];
};

template <typename T> inline bool is_aligned(const T *ptr)
{
    auto address = reinterpret_cast<std::uintptr_t>(ptr);
    __asm__ volatile("" : "+r"(address)); /* the compiler believes the type */
    return address % alignof(T) == 0;
}

template <typename T> inline void write_words(T &block, std::uint64_t state)
{
    for (auto &word : block.word)
        word = draw(state);
}

/* The sum of a block, or of its address when that is not aligned: it then differs. */
template <typename T> inline std::uint64_t sum_block(const T *block)
{
    if (!is_aligned(block))
        return reinterpret_cast<std::uintptr_t>(block);
    std::uint64_t sum = sizeof(T);
    for (auto word : block->word)
        sum = mix(sum, word);
    return sum;
}

/* ---- Goods ---- */

/* Its virtual functions live where it was made: not for use after dlclose. */
struct Parcel {
    virtual ~Parcel() = default;
    virtual std::uint64_t sum() const = 0;
};

/* Anybody may read these and throw them away, also when their maker is gone. */
struct Goods {
    std::string name;
    std::vector<std::string> texts;
    std::map<std::uint32_t, std::string> index;
    std::vector<Line> lines;
    Line *line = nullptr;
    Page *page = nullptr;
    Leaf *leaf = nullptr;

    Goods() = default;
    Goods(const Goods &) = delete;
    Goods &operator=(const Goods &) = delete;
    ~Goods()
    {
        delete line;
        delete page;
        delete[] leaf;
    }

    std::uint64_t sum() const
    {
        std::uint64_t total = sum_of(name);
        for (const auto &text : texts)
            total = mix(total, sum_of(text));
        for (const auto &entry : index)
            total = mix(total, entry.first + sum_of(entry.second));
        for (const auto &one : lines)
            total = mix(total, sum_block(&one));
        total = line ? mix(total, sum_block(line)) : total;
        total = page ? mix(total, sum_block(page)) : total;
        return leaf ? mix(total, sum_block(leaf)) : total;
    }
};

inline std::string make_text(std::uint64_t &state, std::size_t most)
{
    std::string text;
    std::size_t length = draw(state) % most;
    while (text.size() < length)
        text.push_back(static_cast<char>('a' + draw(state) % 26));
    return text;
}

/* Everything that a Goods can hold; most of it is small, some is Mid, some Large. */
inline Goods *make_goods(std::uint64_t seed)
{
    auto goods = std::make_unique<Goods>();
    std::uint64_t state = seeded(seed);
    goods->name = "goods " + std::to_string(seed) + make_text(state, 60);
    for (unsigned i = 0; i < 6; i++)
        goods->texts.push_back(make_text(state, i == 5 ? 6000 : 200));
    for (unsigned i = 0; i < 8; i++)
        goods->index[static_cast<std::uint32_t>(draw(state))] = make_text(state, 40);
    goods->lines.resize(1 + draw(state) % 40);
    for (auto &one : goods->lines)
        write_words(one, draw(state));
    goods->line = new Line;
    write_words(*goods->line, seed);
    if (seed % 4 == 0)
        write_words(*(goods->page = new Page), seed + 1);
    if (seed % 64 == 0)
        write_words(*(goods->leaf = new Leaf[2]), seed + 1);
    return goods.release();
}

/* ---- Exceptions ---- */

/* One that carries memory. Each module has its own type_info of it. */
struct Fault : std::runtime_error {
    std::vector<std::string> trail;
    std::uint64_t code;

    Fault(const std::string &what, std::uint64_t seed) : std::runtime_error(what), code(seed)
    {
        std::uint64_t state = seeded(seed);
        for (unsigned i = 0; i < 4; i++)
            trail.push_back(make_text(state, 900));
    }
    std::uint64_t sum() const
    {
        std::uint64_t total = mix(code, sum_of(what()));
        for (const auto &text : trail)
            total = mix(total, sum_of(text));
        return total;
    }
};

/* The sum of whatever was thrown. */
inline std::uint64_t sum_of(const std::exception_ptr &error)
{
    try {
        std::rethrow_exception(error);
    } catch (const Fault &fault) {
        return fault.sum();
    } catch (const std::bad_alloc &) {
        return 0xbad;
    } catch (const std::exception &other) {
        return sum_of(std::string(other.what()));
    } catch (const std::string &text) {
        return sum_of(text) + 1;
    }
}

/* ---- What a plugin exports, as `mtcxx_plugin` ---- */

struct Plugin {
    Goods *(*make)(std::uint64_t seed);
    std::uint64_t (*eat)(Goods *goods); /* deletes them */
    Parcel *(*wrap)(std::uint64_t seed);
    std::shared_ptr<Line> (*share)(std::uint64_t seed);
    /* Throws something that depends on the seed, `depth` frames down. */
    void (*fail)(std::uint64_t seed, unsigned depth);
    std::exception_ptr (*capture)(std::uint64_t seed);
    /* Calls back; what the callback throws passes through or is thrown anew. */
    void (*relay)(const std::function<void()> &call, std::uint64_t seed);
    /* Leaves something in thread-local storage of the plugin, and sums it. */
    std::uint64_t (*remember)(std::uint64_t seed);
    /* Where the destructors of those things count themselves; to be told first. */
    void (*count_in)(std::atomic<std::uint64_t> *counter);
};

#endif
