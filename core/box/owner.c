/* owner.c - see owner.h */
#include "box/owner.h"

#include "box/clock.h"
#include "box/file.h"
#include "box/sys.h"

/* A process, in the words of struct tide_owner. */
struct owner_who {
    uint64_t boot[2], space, started, image;
};

/* --- what the kernel says about a process ------------------------------------------- */

/* The number behind `skip` spaces. */
static uint64_t owner_field(const char *at, unsigned skip)
{
    uint64_t value = 0;
    for (; skip > 0 && *at != '\0'; at++)
        skip -= *at == ' ';
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

/* Reads /proc/PID/stat: when it started, and whether only its exit status is left of it. False:
 * there is no such file. What is behind the last ')' begins with field 3, the state. */
static bool owner_stat(uint32_t pid, uint64_t *started, bool *gone)
{
    char path[40], line[1024], digits[12];
    size_t n = 0, at = 6;
    memcpy(path, "/proc/", at);
    do {
        digits[n++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid != 0);
    while (n > 0)
        path[at++] = digits[--n];
    memcpy(path + at, "/stat", 6);
    if (tide_file_read(path, line, sizeof line) <= 0)
        return false;
    const char *end = strrchr(line, ')');
    if (end == NULL || end[1] != ' ')
        return false;
    *started = owner_field(end, 20);
    /* A leader that ended while its threads go on looks like a zombie, too. */
    *gone = (end[2] == 'Z' || end[2] == 'X') && owner_field(end, 18) <= 1;
    return true;
}

/* The 32 hex digits of the boot's id, with dashes between them. */
void tide_owner_boot(uint64_t boot[2])
{
    char text[64];
    unsigned digits = 0;
    boot[0] = boot[1] = 0;
    if (tide_file_read("/proc/sys/kernel/random/boot_id", text, sizeof text) <= 0)
        return;
    for (const char *at = text; *at != '\0' && digits < 32; at++) {
        unsigned digit = *at >= 'a' ? (unsigned)(*at - 'a') + 10 : (unsigned)(*at - '0');
        if (digit < 16)
            boot[digits / 16] = boot[digits / 16] << 4 | digit;
        digits += digit < 16;
    }
}

/* "pid:[4026531836]" */
static uint64_t owner_space(void)
{
    char text[64];
    const char *at;
    if (tide_file_link("/proc/self/ns/pid", text, sizeof text) <= 0)
        return 0;
    at = strchr(text, '[');
    return at != NULL ? owner_field(at + 1, 0) : 0;
}

/* Drawn once by each program. */
static uint64_t owner_image(void)
{
    static _Atomic uint64_t drawn;
    uint64_t image = atomic_load_explicit(&drawn, memory_order_acquire), mine = 0;
    if (image != 0)
        return image;
    if (!tide_file_random(&mine, sizeof mine) || mine == 0)
        mine = tide_mix(tide_clock_now()) | 1;
    return atomic_compare_exchange_strong(&drawn, &image, mine) ? mine : image;
}

static void owner_self(struct owner_who *who)
{
    bool gone;
    tide_owner_boot(who->boot);
    who->space = owner_space();
    who->image = owner_image();
    if (!owner_stat((uint32_t)tide_file_pid(), &who->started, &gone))
        who->started = 0;
}

/* --- the words ----------------------------------------------------------------------- */

/* The word of this process: never 0. */
static uint64_t owner_word(uint32_t pid, const struct owner_who *who)
{
    uint64_t sum = tide_mix(who->boot[0] ^ tide_mix(who->boot[1]));
    sum = tide_mix(sum ^ who->space) + who->started;
    sum = tide_mix(sum) ^ who->image;
    return (tide_mix(sum) >> 32 | 1) << 32 | pid;
}

static uint64_t owner_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void owner_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static void owner_read(const struct tide_owner *owner, struct owner_who *who)
{
    who->boot[0] = owner_get(&owner->boot[0]);
    who->boot[1] = owner_get(&owner->boot[1]);
    who->space = owner_get(&owner->space);
    who->started = owner_get(&owner->started);
    who->image = owner_get(&owner->image);
}

/* Of a process in our own namespace. */
static enum tide_owner_is owner_runs(uint32_t pid, const struct owner_who *who)
{
    uint64_t started;
    bool gone;
    if (tide_sys3(SYS_kill, (long)pid, 0, 0) == -ESRCH)
        return TIDE_OWNER_DEAD;
    if (!owner_stat(pid, &started, &gone)) /* hidden from us, or there is no /proc */
        return TIDE_OWNER_ALIVE;
    return gone || started != who->started ? TIDE_OWNER_DEAD : TIDE_OWNER_ALIVE;
}

enum tide_owner_is tide_owner_look(const struct tide_owner *owner, struct tide_owner_seen *seen)
{
    struct owner_who who, self;
    uint64_t word = atomic_load_explicit(&owner->word, memory_order_acquire);
    *seen = (struct tide_owner_seen){word, (uint32_t)word};
    if (word == 0)
        return TIDE_OWNER_NOBODY;
    owner_self(&self);
    if (word == owner_word((uint32_t)tide_file_pid(), &self))
        return TIDE_OWNER_ALIVE; /* we, perhaps before all of it is written */
    owner_read(owner, &who);
    if (owner_word(seen->pid, &who) != word)
        return TIDE_OWNER_UNKNOWN;
    if (memcmp(who.boot, self.boot, sizeof self.boot) != 0)
        return TIDE_OWNER_DEAD;
    if (who.space != self.space)
        return TIDE_OWNER_UNKNOWN;
    if (seen->pid == (uint32_t)tide_file_pid() && who.started == self.started)
        return who.image == self.image ? TIDE_OWNER_ALIVE : TIDE_OWNER_UNKNOWN;
    return owner_runs(seen->pid, &who);
}

bool tide_owner_win(struct tide_owner *owner, const struct tide_owner_seen *seen)
{
    struct owner_who self;
    uint64_t word = seen->word;
    owner_self(&self);
    if (!atomic_compare_exchange_strong(&owner->word, &word,
                                        owner_word((uint32_t)tide_file_pid(), &self)))
        return false;
    owner_set(&owner->boot[0], self.boot[0]);
    owner_set(&owner->boot[1], self.boot[1]);
    owner_set(&owner->space, self.space);
    owner_set(&owner->started, self.started);
    owner_set(&owner->image, self.image);
    return true;
}

void tide_owner_drop(struct tide_owner *owner)
{
    atomic_store_explicit(&owner->word, 0, memory_order_release);
}
