/* lanemend_head.c - where a damaged log in lanes begins and ends; see lanemend.h */
#include "box/lanemend.h"

static bool head_sees(const struct tide_lanes *map, uint64_t place)
{
    struct tide_lanes_slot slot;
    uint32_t lane;
    return tide_lanes_entry(map, place)->seq == place + 1 &&
           tide_lanemend_see(map, place, &slot, &lane);
}

static bool head_has_base(const struct tide_lanes *map, uint64_t place, uint64_t base)
{
    const struct tide_lanes_entry *entry = tide_lanes_entry(map, place);
    return tide_lanemend_get(&entry->seq) == place + 1 && TIDE_RELAXED_GET(&entry->base) == base;
}

/* The place of the entry at this position; false: it is of none. */
static bool head_place_at(const struct tide_lanes *map, uint64_t position, uint64_t *place)
{
    *place = tide_lanemend_get(&map->index[position].seq) - 1;
    return tide_lanemend_is_sane(map, *place) &&
           tide_logmap_at(&map->entries, *place) == position && head_sees(map, *place);
}

/* The one place whose first message has this number. */
static bool head_find_base(const struct tide_lanes *map, uint64_t base, uint64_t *place)
{
    for (uint64_t i = 0; i < map->entries.size; i++)
        if (TIDE_RELAXED_GET(&map->index[i].base) == base && head_place_at(map, i, place))
            return true;
    return false;
}

/* Behind the highest place that there is; false: there is none. */
static bool head_find_top(const struct tide_lanes *map, uint64_t *top)
{
    uint64_t place, most = 0;
    for (uint64_t i = 0; i < map->entries.size; i++)
        if (head_place_at(map, i, &place))
            most = tide_max(most, place + 1 - map->first);
    *top = map->first + most;
    return most != 0;
}

/* The slot of this place is not released, as its lane says. */
static bool head_is_kept(const struct tide_lanes *map, uint64_t place)
{
    struct tide_lanes_slot slot;
    uint32_t lane;
    return tide_lanemend_see(map, place, &slot, &lane) &&
           tide_lanemend_get(&slot.publish) - tide_lanemend_get(&map->lane[lane].released) <
               map->slots.size;
}

/* Neither word can be believed together with the other one. */
static uint64_t head_guess(const struct tide_lanes *map, uint64_t trimmed, uint64_t committed)
{
    uint64_t top = committed, first;
    bool sane = tide_lanemend_is_sane(map, trimmed);
    if (sane && head_sees(map, trimmed))
        return trimmed;
    if ((!tide_lanemend_is_sane(map, committed) || !head_sees(map, committed - 1)) &&
        !head_find_top(map, &top))
        return sane ? trimmed : tide_lanemend_is_sane(map, committed) ? committed : map->first;
    for (first = top; first != map->first && top - first < map->entries.size; first--)
        if (!head_is_kept(map, first - 1))
            break;
    return first;
}

/* The number of the first message is that of another place: was the place changed, or the number?
 * What is kept is not released, and what is trimmed mostly is. */
static bool head_is_moved(const struct tide_lanes *map, uint64_t first, uint64_t place)
{
    return (int64_t)(place - first) > 0 ? !head_is_kept(map, first) : head_is_kept(map, place);
}

void tide_lanemend_head(struct tide_lanemend *self)
{
    const struct tide_lanes *map = self->map;
    const struct tide_lanes_head *head = map->head;
    uint64_t first = tide_lanemend_get(&head->trimmed_place),
             end = tide_lanemend_get(&head->committed), place;
    uint64_t base = tide_lanemend_get(&head->trimmed_base);
    bool fits = tide_lanemend_is_sane(map, first) && end - first <= map->entries.size;
    if (!fits || !head_has_base(map, first, base)) {
        if (head_find_base(map, base, &place) && (!fits || head_is_moved(map, first, place)))
            first = place;
        else if (!fits)
            first = head_guess(map, first, end);
    }
    if (end - first > map->entries.size)
        for (end = first + map->entries.size; end != first && !head_sees(map, end - 1);)
            end--;
    self->first = first;
    self->end = end;
}

uint32_t tide_lanemend_held(const struct tide_lanes *map, bool *leads)
{
    *leads = false;
    if (map->nodes == 1)
        return UINT32_MAX;
    tide_coh_fresh(map->coh, map->head, sizeof *map->head);
    for (uint32_t i = 1; i < map->nodes; i++) {
        const struct tide_lanes_node *line = &map->node[i];
        tide_coh_fresh(map->coh, line, sizeof *line);
        uint64_t standing = tide_lanemend_get(&line->standing),
                 granted = tide_lanemend_get(&line->granted);
        bool left = tide_lanemend_get(&line->holder) == granted &&
                    tide_lanemend_get(&line->beat) == TIDE_LANES_GONE_BEAT;
        if (standing != TIDE_LANES_FREE && granted != 0 && (standing == TIDE_LANES_FENCED || !left))
            return i;
    }
    *leads = tide_lanemend_get(&map->head->lead) != 0 &&
             tide_lanemend_get(&map->head->lead_way) != TIDE_LANECREW_ROOM;
    return *leads ? 0 : UINT32_MAX;
}
