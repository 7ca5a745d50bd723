/* spin.c - see spin.h */
#include "spin.h"

enum {
    SPIN_AWAKE = 3000, /* ns: who has events after that did not sleep */
    SPIN_GAIN = 2,
    SPIN_MOST = 16, /* of credit */
    SPIN_PROBE = 32
};

uint64_t spin_until(struct spin *spin, uint64_t now)
{
    bool busy = spin->busy;
    uint64_t until = spin->heard + spin->ns;
    spin->busy = spin->waited = false;
    if (!busy || now - spin->heard >= spin->ns)
        return 0;
    if (spin->credit == 0 && ++spin->idle % SPIN_PROBE != 0)
        return 0;
    spin->waited = true;
    spin->waits++;
    return until;
}

void spin_polls(struct spin *spin, uint64_t now)
{
    spin->polled = now;
}

void spin_hears(struct spin *spin, uint64_t now)
{
    spin->busy = true;
    spin->heard = now;
    if (!spin->waited)
        return;
    if (now - spin->polled < SPIN_AWAKE) {
        spin->paid++;
        spin->credit = spin->credit + SPIN_GAIN < SPIN_MOST ? spin->credit + SPIN_GAIN : SPIN_MOST;
    } else if (spin->credit > 0)
        spin->credit--;
}
