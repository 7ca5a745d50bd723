/* write.c - see write.h */
#include "write.h"

#include <string.h>

#include "streams.h"

/* LIMIT: of a trim about a length that does not say another one. */
enum { WRITE_BATCH = 2048, WRITE_LIMIT = 100 * RECORD_RUN_MAX };

/* Answers that were put off, in order. */
struct answer {
    struct conn *conn; /* NULL: it was given, or nobody waits for it */
    struct sid id;
    int error;
    unsigned run;
};

static struct {
    struct answer answer[WRITE_BATCH];
    unsigned count;
    unsigned settled; /* of these: what they are about is in the log, or has an error */
} later;

/* ---- options of XADD and XTRIM ---- */

static bool write_id(struct text text, struct sid *id, bool *any)
{
    if (sid_parse(text.at, text.size, 0, id, any))
        return true;
    command_error("ERR Invalid stream ID specified as stream command argument");
    return false;
}

struct parsing {
    const struct request *request;
    uint32_t at;
    bool limited;
    int64_t limit;
};

/* MAXLEN or MINID with what follows it; at is on the word. */
static bool parse_trim(struct parsing *in, struct trim *trim, enum trim_kind kind)
{
    uint32_t left = request_count(in->request) - 1 - in->at;
    int64_t most;
    if (trim->kind != TRIM_NONE) {
        command_error("ERR syntax error, MAXLEN and MINID options at the same time are not "
                      "compatible");
        return false;
    }
    struct text next = request_arg(in->request, ++in->at);
    trim->about = left >= 2 && next.size == 1 && next.at[0] == '~';
    if (trim->about || (left >= 2 && next.size == 1 && next.at[0] == '='))
        next = request_arg(in->request, ++in->at);
    trim->kind = kind;
    if (kind == TRIM_FROM)
        return write_id(next, &trim->first, NULL);
    if (!text_number(next, &most))
        return false;
    if (most < 0)
        command_error("ERR The MAXLEN argument must be >= 0.");
    trim->most = (uint64_t)most;
    return most >= 0;
}

static bool parse_limit(struct parsing *in)
{
    if (!text_number(request_arg(in->request, ++in->at), &in->limit))
        return false;
    if (in->limit < 0)
        command_error("ERR The LIMIT argument must be >= 0.");
    in->limited = true;
    return in->limit >= 0;
}

static bool parse_done(const struct parsing *in, struct trim *trim, bool add)
{
    trim->limit = in->limited ? (uint64_t)in->limit : trim->about ? WRITE_LIMIT : 0;
    if (in->limit > 0 && trim->kind == TRIM_NONE)
        command_error("ERR syntax error, LIMIT cannot be used without specifying a trimming "
                      "strategy");
    else if (!add && trim->kind == TRIM_NONE)
        command_error("ERR syntax error, XTRIM must be called with a trimming strategy");
    else if (in->limited && !trim->about)
        command_error("ERR syntax error, LIMIT cannot be used without the special ~ option");
    else
        return true;
    return false;
}

/* Up to the id, on which at is then; add NULL: XTRIM, up to the end. */
static bool parse_options(struct parsing *in, struct trim *trim, struct add *add)
{
    bool good = true;
    for (in->at = 2; good && in->at < request_count(in->request); in->at++) {
        struct text word = request_arg(in->request, in->at);
        bool more = in->at + 1 < request_count(in->request);
        if (add != NULL && word.size == 1 && word.at[0] == '*') {
            break;
        } else if (more && text_is(word, "maxlen")) {
            good = parse_trim(in, trim, TRIM_COUNT);
        } else if (more && text_is(word, "minid")) {
            good = parse_trim(in, trim, TRIM_FROM);
        } else if (more && text_is(word, "limit")) {
            good = parse_limit(in);
        } else if (add != NULL && text_is(word, "nomkstream")) {
            add->only_existing = true;
        } else if (add != NULL) {
            bool any;
            if (!write_id(word, &add->id, &any))
                return false;
            add->how = any ? ADD_MS : ADD_ID;
            break;
        } else {
            command_syntax();
            return false;
        }
    }
    return good && parse_done(in, trim, add != NULL);
}

/* ---- XADD ---- */

static void add_reply(const struct answer *answer)
{
    switch (answer->error) {
    case 0:
        out_id(&server.out, answer->id);
        return;
    case ADD_MISSING:
        out_text(&server.out, "$-1");
        return;
    case ADD_SMALL:
        command_error("ERR The ID specified in XADD is equal or smaller than the target stream "
                      "top item");
        return;
    case ADD_EXHAUSTED:
        command_error("ERR The stream has exhausted the last possible ID, unable to add more "
                      "items");
        return;
    case ADD_FULL:
        command_error("OOM the log has no room for this entry: trim streams (XADD MAXLEN, "
                      "XTRIM), delete some, or start with a larger --payload or --slots");
        return;
    default:
        command_error("OOM no memory for the index of this stream");
    }
}

/* The conn is the one whose replies server.out has; `how` is streams_commit or streams_settle. */
static void write_with(struct conn *conn, const unsigned char *how(void))
{
    /* Replies that name bytes of the log go out before anything there changes. */
    if (server.out.names)
        conn_flush(conn);
    const unsigned char *error = how();
    for (; later.settled < later.count; later.settled++) {
        struct answer *answer = &later.answer[later.settled];
        if (answer->error == 0)
            answer->error = error[answer->run];
        if (answer->conn != NULL)
            conn_appended(answer->conn);
    }
}

void write_settle(struct conn *conn)
{
    if (later.count == 0)
        return;
    write_with(conn, streams_settle);
    for (unsigned i = 0; i < later.count; i++)
        if (later.answer[i].conn == conn) {
            later.answer[i].conn = NULL;
            add_reply(&later.answer[i]);
        }
    while (later.count > 0 && later.answer[later.count - 1].conn == NULL)
        later.count--;
    later.settled = later.count;
}

/* Sends the answers of one connection that stand together. */
static unsigned write_send(unsigned from)
{
    struct conn *conn = later.answer[from].conn;
    unsigned i = from;
    for (; i < later.count && later.answer[i].conn == conn; i++)
        if (conn != NULL)
            add_reply(&later.answer[i]);
    if (conn != NULL)
        conn_reply(conn);
    return i;
}

bool write_finish(void)
{
    if (later.count == 0)
        return false;
    write_with(NULL, streams_settle);
    for (unsigned i = 0; i < later.count;)
        i = write_send(i);
    later.count = later.settled = 0;
    return true;
}

void write_forget(struct conn *conn)
{
    bool waits = false;
    for (unsigned i = 0; i < later.count; i++)
        if (later.answer[i].conn == conn) {
            later.answer[i].conn = NULL;
            waits = waits || i >= later.settled;
        }
    if (waits)
        write_with(NULL, streams_commit);
}

/* Room for one answer more: if need be those of others are sent, in the middle of a turn. */
static void write_room(struct conn *conn)
{
    static struct out others;
    if (later.count < WRITE_BATCH)
        return;
    write_settle(conn);
    struct out own = server.out;
    server.out = others;
    write_finish();
    others = server.out;
    server.out = own;
}

/* The strings of the entry as they came; typed ones are put into that form first. */
static bool add_strings(const struct request *request, uint32_t from, struct add *add)
{
    static struct out typed;
    const struct resp_arg *before = &request->args->arg[from - 1];
    if (!request->args->line) {
        add->text = request->data + before->at + before->size + 2;
        add->text_size = (uint32_t)(request->data + request->size - add->text);
        return true;
    }
    out_clear(&typed);
    for (uint32_t i = from; i < request_count(request); i++)
        out_string(&typed, request_arg(request, i).at, request_arg(request, i).size);
    add->text = typed.text;
    add->text_size = (uint32_t)typed.used;
    return !typed.failed;
}

static bool add_parse(const struct request *request, struct add *add)
{
    struct parsing in = {request, 0, false, 0};
    struct text key = request_arg(request, 1);
    if (!parse_options(&in, &add->trim, add))
        return false;
    uint32_t from = in.at + 1, count = request_count(request);
    if (from >= count || (count - from) % 2 != 0) {
        command_error("ERR wrong number of arguments for 'xadd' command");
        return false;
    }
    if (add->how == ADD_ID && add->id.ms == 0 && add->id.seq == 0) {
        command_error("ERR The ID specified in XADD must be greater than 0-0");
        return false;
    }
    if (key.size > RECORD_KEY_MAX) {
        command_error("ERR a key of %zu bytes: at most %d", key.size, RECORD_KEY_MAX);
        return false;
    }
    add->key = key.at;
    add->key_size = (uint32_t)key.size;
    add->strings = count - from;
    return add_strings(request, from, add);
}

void write_add(struct conn *conn, const struct request *request)
{
    struct add add = {.how = ADD_AUTO};
    struct out_mark mark = out_mark(&server.out);
    /* An error must stand behind the replies of those that were put off. */
    if (!add_parse(request, &add)) {
        if (later.count > 0) {
            out_back(&server.out, mark);
            write_settle(conn);
            add_parse(request, &(struct add){.how = ADD_AUTO});
        }
        return;
    }
    size_t room = streams_room(&add);
    if (room > store_most()) {
        write_settle(conn);
        command_error("ERR an entry of %zu bytes in the log: at most %zu, a quarter of --payload",
                      room, store_most());
        return;
    }
    if (conn->client == NULL && (conn->client = store_join()) == NULL) {
        write_settle(conn);
        command_error("ERR all %u sessions of the log are taken (--sessions)",
                      server.is.store.sessions);
        return;
    }
    write_room(conn);
    if (conn->closing)
        return;
    if (!streams_fits(conn->client, &add))
        write_with(conn, streams_commit);
    int error = streams_add(conn->client, &add, server_clock());
    later.answer[later.count++] = (struct answer){conn, add.id, error, add.run};
}

/* ---- XTRIM, DEL, XDEL ---- */

void write_trim(struct conn *conn, const struct request *request)
{
    struct parsing in = {request, 0, false, 0};
    struct trim trim = {.kind = TRIM_NONE};
    struct text key = request_arg(request, 1);
    if (!parse_options(&in, &trim, NULL))
        return;
    struct stream *stream = streams_find(key.at, key.size, false);
    if (server.out.names)
        conn_flush(conn);
    int64_t gone = stream != NULL && stream->exists ? streams_trim(stream, &trim) : 0;
    conn_appended(conn);
    if (gone < 0)
        command_error("OOM trimmed, but the log is too full to remember it after a restart");
    else
        out_integer(&server.out, gone);
}

void write_del(struct conn *conn, const struct request *request)
{
    int64_t gone = 0;
    bool noted = true;
    if (server.out.names)
        conn_flush(conn);
    for (uint32_t i = 1; i < request_count(request); i++) {
        struct text key = request_arg(request, i);
        struct stream *stream = streams_find(key.at, key.size, false);
        if (stream == NULL || !stream->exists)
            continue;
        noted = streams_drop(stream) && noted;
        gone++;
    }
    conn_appended(conn);
    if (noted)
        out_integer(&server.out, gone);
    else
        command_error("OOM deleted, but the log is too full to remember it after a restart");
}

void write_xdel(struct conn *conn, const struct request *request)
{
    (void)conn;
    (void)request;
    command_error("ERR XDEL is not supported: entries of a log leave it from its old end "
                  "(XTRIM) or with their stream (DEL)");
}
