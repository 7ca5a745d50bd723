/* door.c - see door.h */
#include "box/door.h"

#include "box/park.h"

uint64_t tide_door_keep(const struct tide_logmap *map, uint32_t client, uint32_t producer)
{
    struct tide_layout_session *session = &map->session[client];
    uint64_t seen = TIDE_DOOR_TAKEN, kept = TIDE_DOOR_KEPT | producer;
    bool stays = map->keeps && tide_coh_get(map->coh, &session->called) == 0 &&
                 tide_coh_win(map->coh, &session->door, &seen, kept);
    return stays ? kept : 0;
}

bool tide_door_part(const struct tide_logmap *map, uint32_t client, uint64_t kept)
{
    tide_coh_set(map->coh, &map->producer[(uint32_t)kept].inside, 0);
    return tide_coh_win(map->coh, &map->session[client].door, &kept, TIDE_DOOR_OPEN);
}

/* Where the kernel makes no barrier any more, whoever keeps the door answers in its next call. */
uint64_t tide_door_call(const struct tide_logmap *map, uint32_t client)
{
    _Atomic uint64_t *door = &map->session[client].door;
    uint64_t seen = tide_coh_get(map->coh, door);
    do
        if (!map->keeps || (seen & TIDE_DOOR_KEPT) == 0)
            return 0;
    while (!tide_coh_win(map->coh, door, &seen, TIDE_DOOR_CALLED | TIDE_DOOR_TAKEN));
    if (!tide_park_barrier() || tide_coh_get(map->coh, &map->producer[(uint32_t)seen].inside) != 0)
        return 0;
    return tide_door_answer(map, client);
}

/* It was called for once, and nobody keeps it again: so a caller who looked, found nobody inside
 * and was held up does not take it from another one. */
uint64_t tide_door_answer(const struct tide_logmap *map, uint32_t client)
{
    struct tide_layout_session *session = &map->session[client];
    uint64_t seen = tide_coh_get(map->coh, &session->door);
    while ((seen & TIDE_DOOR_CALLED) != 0)
        if (tide_coh_win(map->coh, &session->door, &seen, TIDE_DOOR_TAKEN)) {
            tide_coh_set(map->coh, &session->called, 1);
            return seen & ~TIDE_DOOR_CALLED;
        }
    return 0;
}
