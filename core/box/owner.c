/* owner.c - see owner.h */
#include "box/owner.h"

#include "box/clock.h"
#include "box/file.h"
#include "box/sys.h"

enum { OWNER_PID_BITS = 22, OWNER_WHERE_BITS = 16 };

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

/* The 32 hex digits of an id, perhaps with dashes between them. How many there are. */
static unsigned owner_id(const char *path, uint64_t id[2])
{
    char text[64];
    unsigned digits = 0;
    id[0] = id[1] = 0;
    if (tide_file_read(path, text, sizeof text) <= 0)
        return 0;
    for (const char *at = text; *at != '\0' && digits < 32; at++) {
        unsigned digit = *at >= 'a' ? (unsigned)(*at - 'a') + 10 : (unsigned)(*at - '0');
        if (digit < 16)
            id[digits / 16] = id[digits / 16] << 4 | digit;
        digits += digit < 16;
    }
    return digits;
}

void tide_owner_boot(uint64_t boot[2])
{
    owner_id("/proc/sys/kernel/random/boot_id", boot);
}

/* A sum, for the id itself is not to be told to others; 0: there is none. */
static uint64_t owner_machine(void)
{
    uint64_t id[2];
    if (owner_id("/etc/machine-id", id) < 32)
        return 0;
    return tide_mix(id[0] ^ tide_mix(id[1])) | 1;
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

/* --- the words ----------------------------------------------------------------------- */

/* Where processes are that we can ask about, in a few bits. */
static uint64_t owner_where(const struct tide_owner_self *who)
{
    return tide_mix(tide_mix(who->boot[0] ^ tide_mix(who->boot[1])) ^ who->space) >>
           (64 - OWNER_WHERE_BITS);
}

/* The word of a process: never 0. Who does not know its machine has the same as ever. */
static uint64_t owner_word(uint32_t pid, const struct tide_owner_self *who)
{
    uint64_t where = owner_where(who), sum = tide_mix(who->space ^ tide_mix(who->boot[0]));
    sum = tide_mix(sum ^ who->boot[1]) + who->started;
    sum = tide_mix(tide_mix(sum) ^ who->image);
    sum = (who->machine != 0 ? tide_mix(sum ^ who->machine) : sum) | UINT64_C(1) << 63;
    return (sum & ~UINT64_C(0) << (OWNER_PID_BITS + OWNER_WHERE_BITS)) | where << OWNER_PID_BITS |
           pid;
}

void tide_owner_sum(struct tide_owner_self *self)
{
    self->word = owner_word(self->pid, self);
}

void tide_owner_self(struct tide_owner_self *self)
{
    bool gone;
    tide_owner_boot(self->boot);
    self->space = owner_space();
    self->image = owner_image();
    self->pid = (uint32_t)tide_file_pid();
    if (!owner_stat(self->pid, &self->started, &gone))
        self->started = 0;
    self->machine = owner_machine();
    tide_owner_sum(self);
}

static uint64_t owner_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void owner_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static void owner_read(const struct tide_owner *owner, struct tide_owner_self *who)
{
    who->boot[0] = owner_get(&owner->boot[0]);
    who->boot[1] = owner_get(&owner->boot[1]);
    who->space = owner_get(&owner->space);
    who->started = owner_get(&owner->started);
    who->image = owner_get(&owner->image);
    who->machine = owner_get(&owner->machine);
}

/* Of a process in our own namespace; *started: what it says now, 0 if nobody tells. */
static bool owner_runs(uint32_t pid, uint64_t *started)
{
    bool gone;
    *started = 0;
    if (tide_sys3(SYS_kill, (long)pid, 0, 0) == -ESRCH)
        return false;
    return !owner_stat(pid, started, &gone) || !gone; /* hidden from us, or there is no /proc */
}

/* The fields are not those of the word: its holder ended, or is about to write them. */
static enum tide_owner_is owner_half(uint64_t word, const struct tide_owner_self *self)
{
    uint64_t where = word >> OWNER_PID_BITS & ((1 << OWNER_WHERE_BITS) - 1), started;
    uint32_t pid = (uint32_t)word & ((1 << OWNER_PID_BITS) - 1);
    if (where == owner_where(self) && !owner_runs(pid, &started))
        return TIDE_OWNER_DEAD;
    return TIDE_OWNER_UNKNOWN;
}

enum tide_owner_is tide_owner_look_as(const struct tide_owner *owner,
                                      const struct tide_owner_self *self,
                                      struct tide_owner_seen *seen)
{
    struct tide_owner_self who;
    uint64_t word = atomic_load_explicit(&owner->word, memory_order_acquire), started;
    *seen = (struct tide_owner_seen){word, (uint32_t)word & ((1 << OWNER_PID_BITS) - 1)};
    if (word == 0)
        return TIDE_OWNER_NOBODY;
    if (word == self->word)
        return TIDE_OWNER_ALIVE; /* we, perhaps before all of it is written */
    owner_read(owner, &who);
    if (owner_word(seen->pid, &who) != word)
        return owner_half(word, self);
    if (memcmp(who.boot, self->boot, sizeof self->boot) != 0) {
        if (who.machine == 0 || self->machine == 0)
            return TIDE_OWNER_BEFORE;
        return who.machine == self->machine ? TIDE_OWNER_DEAD : TIDE_OWNER_FOREIGN;
    }
    if (who.space != self->space)
        return TIDE_OWNER_UNKNOWN;
    if (seen->pid == self->pid && who.started == self->started)
        return who.image == self->image ? TIDE_OWNER_ALIVE : TIDE_OWNER_UNKNOWN;
    if (!owner_runs(seen->pid, &started))
        return TIDE_OWNER_DEAD;
    return started != 0 && started != who.started ? TIDE_OWNER_DEAD : TIDE_OWNER_ALIVE;
}

enum tide_owner_is tide_owner_look(const struct tide_owner *owner, struct tide_owner_seen *seen)
{
    struct tide_owner_self self;
    if (atomic_load_explicit(&owner->word, memory_order_acquire) == 0) {
        *seen = (struct tide_owner_seen){0, 0};
        return TIDE_OWNER_NOBODY;
    }
    tide_owner_self(&self);
    return tide_owner_look_as(owner, &self, seen);
}

static void owner_write(struct tide_owner *owner, const struct tide_owner_self *self)
{
    owner_set(&owner->boot[0], self->boot[0]);
    owner_set(&owner->boot[1], self->boot[1]);
    owner_set(&owner->space, self->space);
    owner_set(&owner->started, self->started);
    owner_set(&owner->image, self->image);
    owner_set(&owner->machine, self->machine);
}

void tide_owner_put(struct tide_owner *owner, const struct tide_owner_self *self)
{
    owner_write(owner, self);
    atomic_store_explicit(&owner->word, self->word, memory_order_release);
}

bool tide_owner_win(struct tide_owner *owner, const struct tide_owner_seen *seen)
{
    struct tide_owner_self self;
    uint64_t word = seen->word;
    tide_owner_self(&self);
    if (!atomic_compare_exchange_strong(&owner->word, &word, self.word))
        return false;
    owner_write(owner, &self);
    return true;
}

void tide_owner_drop(struct tide_owner *owner)
{
    atomic_store_explicit(&owner->word, 0, memory_order_release);
}
