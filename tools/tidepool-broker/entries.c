/* entries.c - see entries.h */
#include "entries.h"

#include "streams_inner.h"

/* At the beginning of its run, less what is gone. */
static void entries_enter(struct entries_at *at)
{
    const struct index *index = &at->stream->index;
    struct index_at run = at->run;
    streams_run(at->stream, &at->run, &at->record);
    at->next = (struct record_at){.from = 0};
    at->first = index_back(index, &run) ? 0 : at->stream->skip;
    for (uint32_t i = 0; i < at->first; i++)
        record_next(&at->record, &at->next, &at->entry);
}

bool entries_forward(struct entries_at *at)
{
    if (record_next(&at->record, &at->next, &at->entry))
        return true;
    if (!index_forward(&at->stream->index, &at->run))
        return false;
    entries_enter(at);
    return record_next(&at->record, &at->next, &at->entry);
}

bool entries_from(struct entries_at *at, const struct stream *stream, struct sid id)
{
    at->stream = stream;
    if (stream->count == 0)
        return false;
    /* The last run that begins at the id or in front of it, or the first one of all. */
    if (!index_upto(&stream->index, id, &at->run) &&
        !index_from(&stream->index, (struct sid){0, 0}, &at->run))
        return false;
    entries_enter(at);
    while (entries_forward(at))
        if (sid_compare(at->entry.id, id) >= 0)
            return true;
    return false;
}

/* Where the run's entries begin, up to the one behind which `id` comes. */
static void entries_list(struct entries_at *at, struct sid id)
{
    entries_enter(at);
    at->back = 0;
    for (struct record_at is = at->next; record_next(&at->record, &at->next, &at->entry);
         is = at->next) {
        if (sid_compare(at->entry.id, id) > 0)
            return;
        at->all[at->back++] = is;
    }
}

bool entries_back(struct entries_at *at)
{
    if (--at->back == 0) {
        if (!index_back(&at->stream->index, &at->run))
            return false;
        entries_list(at, SID_MAX);
    }
    struct record_at is = at->all[at->back - 1];
    return record_next(&at->record, &is, &at->entry);
}

bool entries_upto(struct entries_at *at, const struct stream *stream, struct sid id)
{
    at->stream = stream;
    if (stream->count == 0 || !index_upto(&stream->index, id, &at->run))
        return false;
    entries_list(at, id);
    at->back++;
    return entries_back(at);
}
