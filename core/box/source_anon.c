/* source_anon.c - see source.h: private anonymous memory, wherever the kernel
 * puts it. "near" is the same thing under the name of what it means. */
#include "box/source.h"

static int anon_accept(struct tide_source *source, const char *rest)
{
    source->why = source->delay != 0 ? "near memory with a modelled delay, as asked"
                                     : "near memory, as asked";
    return *rest == '\0' ? 0 : -EINVAL;
}

const struct tide_source_ops tide_source_anon = {"anon", anon_accept, NULL, NULL, NULL, NULL};
const struct tide_source_ops tide_source_near = {"near", anon_accept, NULL, NULL, NULL, NULL};
