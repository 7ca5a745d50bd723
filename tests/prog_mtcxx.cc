/*
 * prog_mtcxx.cc - threads, plugins and exceptions, as a big C++ program has them.
 *
 *   prog_mtcxx PLUGIN PLUGIN [THREADS [ITEMS [SEASONS]]]
 *
 * In each season the plugins (plug_mtcxx_*.cc) are opened with RTLD_LOCAL. Threads in a
 * ring let them make things, hand these to the next thread, and let whoever has them sum
 * them and throw them away: the host, the maker, or the other plugin. Then the plugins
 * are closed, while things that they made and a thread that used them are still there.
 * It prints sums, which are the same in every run.
 */
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>

#include "mtcxx_case.h"

namespace {

constexpr unsigned PLUGINS = 2;
constexpr unsigned AHEAD = 64;    /* items that a thread may be ahead of its neighbour */
constexpr unsigned KEEP_EACH = 8; /* of so many items one outlives the plugins */

struct Message {
    std::uint64_t seed = 0;
    unsigned maker = 0;
    std::unique_ptr<Goods> goods;
    std::unique_ptr<Parcel> parcel;
    std::shared_ptr<Line> line;
    std::exception_ptr error;
};

class Channel {
  public:
    void push(Message &&message)
    {
        std::lock_guard<std::mutex> hold(mutex);
        waiting.push_back(std::move(message));
        filled.notify_one();
    }
    Message pop()
    {
        std::unique_lock<std::mutex> hold(mutex);
        filled.wait(hold, [this] { return !waiting.empty(); });
        Message message = std::move(waiting.front());
        waiting.pop_front();
        return message;
    }

  private:
    std::mutex mutex;
    std::condition_variable filled;
    std::deque<Message> waiting;
};

/* All sums are added up: the order of the threads does not matter. */
std::atomic<std::uint64_t> total{0}, thrown{0}, ended{0}, keys_ended{0};
std::atomic<std::uint64_t> forgotten[PLUGINS];
pthread_key_t key;

/* ---- What a thread leaves behind ---- */

struct Diary {
    std::vector<std::unique_ptr<Goods>> pages;
    std::map<std::uint64_t, std::shared_ptr<Line>> lines;

    ~Diary()
    {
        std::uint64_t sum = 0;
        for (const auto &page : pages)
            sum += page->sum();
        pages.clear();
        auto late = std::make_unique<Goods>();
        late->texts.assign(50, std::string(200, 'z'));
        for (const auto &entry : lines)
            sum += sum_block(entry.second.get());
        lines.clear();
        total += sum + sum_of(late->texts.back());
        ended++;
    }
};

thread_local Diary diary;

/* Runs after all thread-local destructors. */
void end_key(void *value)
{
    auto *texts = static_cast<std::vector<std::string> *>(value);
    texts->push_back(std::string(2500, 'k'));
    total += sum_of(texts->back()) + texts->size();
    delete texts;
    keys_ended++;
}

void set_key()
{
    if (pthread_getspecific(key) == nullptr)
        pthread_setspecific(key, new std::vector<std::string>(20, std::string(100, 'k')));
}

/* ---- A season ---- */

class Season {
  public:
    Season(char **paths, unsigned threads, unsigned items, std::uint64_t number);
    void work();
    void close();

  private:
    Message make(std::uint64_t seed, unsigned maker);
    void use(Message &&message);
    void quarrel(std::uint64_t seed, unsigned maker);
    void run(unsigned me);
    void linger();

    char **paths;
    unsigned threads, items;
    std::uint64_t number;
    void *handle[PLUGINS];
    const Plugin *plugin[PLUGINS];
    std::vector<Channel> ring;
    std::mutex kept_mutex;
    std::vector<std::unique_ptr<Goods>> kept;
    std::thread late;
    Channel closed;
};

Season::Season(char **plugins, unsigned thread_count, unsigned item_count, std::uint64_t season)
    : paths(plugins), threads(thread_count), items(item_count), number(season), ring(thread_count)
{
    for (unsigned i = 0; i < PLUGINS; i++) {
        handle[i] = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
        void *symbol = handle[i] ? dlsym(handle[i], "mtcxx_plugin") : nullptr;
        if (symbol == nullptr) {
            std::fprintf(stderr, "%s: %s\n", paths[i], dlerror());
            std::exit(2);
        }
        plugin[i] = static_cast<const Plugin *>(symbol);
        plugin[i]->count_in(&forgotten[i]);
    }
}

Message Season::make(std::uint64_t seed, unsigned maker)
{
    Message message;
    message.seed = seed;
    message.maker = maker;
    message.goods.reset(plugin[maker]->make(seed));
    message.parcel.reset(plugin[maker]->wrap(seed));
    message.line = plugin[maker]->share(seed);
    if (seed % 5 == 0)
        message.error = plugin[maker]->capture(seed);
    return message;
}

/* Throws things away in the host, in their maker, in the other plugin, or late. */
void Season::use(Message &&message)
{
    std::uint64_t sum = message.parcel->sum() + sum_block(message.line.get());
    if (message.error) {
        sum += sum_of(message.error);
        thrown++;
    }
    switch (message.seed / KEEP_EACH % 3) {
    case 0:
        sum += plugin[message.maker]->eat(message.goods.release());
        break;
    case 1:
        sum += plugin[(message.maker + 1) % PLUGINS]->eat(message.goods.release());
        break;
    default:
        sum += message.goods->sum();
    }
    if (message.goods && message.seed % KEEP_EACH == 0) {
        std::lock_guard<std::mutex> hold(kept_mutex);
        kept.push_back(std::move(message.goods));
    }
    total += sum;
}

/* Exceptions through the frames of the host and of both plugins. */
void Season::quarrel(std::uint64_t seed, unsigned maker)
{
    const Plugin *here = plugin[maker], *there = plugin[(maker + 1) % PLUGINS];
    try {
        here->relay([&] { there->fail(seed, 4); }, seed);
    } catch (const Fault &fault) {
        total += fault.sum();
        thrown++;
    } catch (...) {
        total += sum_of(std::current_exception());
        thrown++;
    }
    if (seed % 64 != 0)
        return;
    try {
        there->relay(
            [&] {
                std::vector<std::string> huge;
                huge.reserve(huge.max_size());
            },
            seed);
    } catch (const std::exception &error) {
        total += sum_of(std::string(error.what()));
        thrown++;
    }
}

void Season::run(unsigned me)
{
    set_key();
    Channel &next = ring[(me + 1) % threads];
    for (unsigned i = 0; i < items; i++) {
        std::uint64_t seed = (number * threads + me) * items + i;
        next.push(make(seed, (me + i) % PLUGINS));
        if (i % 4 == 0)
            quarrel(seed, i / 4 % PLUGINS);
        if (i % 8 == 0)
            total += plugin[i / 8 % PLUGINS]->remember(seed);
        if (i % 16 == 0) {
            diary.pages.emplace_back(plugin[0]->make(seed));
            diary.lines[seed] = std::make_shared<Line>(*plugin[1]->share(seed));
        }
        if (i >= AHEAD)
            use(ring[me].pop());
    }
    for (unsigned i = items < AHEAD ? 0 : items - AHEAD; i < items; i++)
        use(ring[me].pop());
}

/* A thread that used the plugins and ends when they are closed. */
void Season::linger()
{
    set_key();
    for (unsigned i = 0; i < 100; i++)
        for (const Plugin *one : plugin)
            total += one->remember(i);
    diary.pages.emplace_back(plugin[0]->make(1));
    ring[0].push(Message());
    closed.pop();
    std::vector<std::unique_ptr<Goods>> mine;
    for (auto &goods : kept) {
        std::uint64_t sum = goods->sum();
        total += sum;
        if (sum % 2 == 0)
            mine.push_back(std::move(goods));
    }
}

void Season::work()
{
    std::vector<std::thread> workers;
    for (unsigned i = 0; i < threads; i++)
        workers.emplace_back([this, i] { run(i); });
    for (auto &worker : workers)
        worker.join();
    late = std::thread([this] { linger(); });
    ring[0].pop();
}

/* The thread's destructors run when the plugins are closed, yet not unmapped: the loader
 * keeps them for it. The rest of what they made is deleted when they are gone. */
void Season::close()
{
    unsigned unloaded = 0;
    for (void *one : handle)
        dlclose(one);
    closed.push(Message());
    late.join();
    for (unsigned i = 0; i < PLUGINS; i++) {
        /* What a thread's destructors held is let go by the next dlclose. */
        void *again = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
        dlclose(again);
        unloaded += dlopen(paths[i], RTLD_NOW | RTLD_NOLOAD) == nullptr;
    }
    std::size_t count = kept.size();
    for (const auto &goods : kept)
        total += goods ? goods->sum() : 0;
    kept.clear();
    std::printf("season %u: %zu kept, %u unloaded, sum %016llx\n", static_cast<unsigned>(number),
                count, unloaded, static_cast<unsigned long long>(total.load()));
}

unsigned number_at(int argc, char **argv, int index, unsigned otherwise)
{
    return argc > index ? static_cast<unsigned>(std::strtoul(argv[index], nullptr, 10)) : otherwise;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    unsigned threads = number_at(argc, argv, 3, 4);
    unsigned items = number_at(argc, argv, 4, 1000);
    unsigned seasons = number_at(argc, argv, 5, 3);
    if (pthread_key_create(&key, end_key) != 0)
        return 2;
    for (unsigned i = 0; i < seasons; i++) {
        Season season(argv + 1, threads, items, i);
        season.work();
        season.close();
    }
    std::printf("thrown %llu, thread ends %llu %llu, in plugins %llu %llu\n",
                static_cast<unsigned long long>(thrown), static_cast<unsigned long long>(ended),
                static_cast<unsigned long long>(keys_ended),
                static_cast<unsigned long long>(forgotten[0]),
                static_cast<unsigned long long>(forgotten[1]));
    return 0;
}
