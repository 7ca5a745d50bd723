/* source_file.c - see source.h: a file, or a nameless one in memory ("memfd"), mapped
 * shared. All of it is allocated before it is mapped, so that a full disk or a full tmpfs is
 * an error here and not a SIGBUS later. */
#include "box/diag.h"
#include "box/file.h"
#include "box/source.h"
#include "box/store.h"

static void file_accepted(struct tide_source *source, const char *why)
{
    source->shared = true;
    source->far = true;
    source->why = why;
}

/* What the kernel's answer means, about a file that is to be opened. */
static int file_refused(struct tide_source *source, int ret)
{
    switch (ret) {
    case -ENOENT:
    case -ENOTDIR:
        return tide_source_say(source, -ENOENT, "does not exist");
    case -EACCES:
    case -EPERM:
        return tide_source_say(source, -EACCES, "may not be read and written by this user");
    case -EROFS:
        return tide_source_say(source, -EROFS, "is on a file system that is mounted read-only");
    case -ETXTBSY:
        return tide_source_say(source, ret, "is a program that runs");
    case -ENAMETOOLONG:
        return tide_source_say(source, ret, "is too long a name");
    default:
        return tide_source_say(source, ret, "cannot be opened for reading and writing");
    }
}

static int file_accept(struct tide_source *source, const char *rest)
{
    struct tide_store found;
    if (rest[0] != ':' || rest[1] == '\0')
        return -EINVAL;
    memcpy(source->path, rest + 1, strlen(rest + 1) + 1);
    file_accepted(source, "the file asked for");
    int ret = tide_store_look(source->path, &found);
    if (ret == -ENOENT && source->create)
        return 0;
    if (ret != 0)
        return file_refused(source, ret);
    if (found.kind != TIDE_STORE_FILE)
        return tide_source_say(source, -ENODEV,
                               found.kind == TIDE_STORE_CHAR
                                   ? "is a device and no regular file (for devdax say dax:PATH)"
                                   : "is no regular file");
    int fd = tide_store_open(source->path, false);
    if (fd < 0)
        return file_refused(source, fd);
    tide_file_close(fd);
    source->capacity = found.size;
    source->align = found.huge;
    if (found.size == 0 && !source->create)
        return tide_source_say(source, -EFBIG, "is empty");
    return 0;
}

/* "needs WANTED more bytes", and how many there are, in the words of the error. */
static int file_say_room(struct tide_source *source, int code, const struct tide_store_need *need)
{
    char line[160];
    struct tide_text text = {line, sizeof line, 0};
    bool memory = code == -ENOMEM;
    tide_text_add(&text, memory ? "is in memory: it needs " : "needs ");
    tide_text_number(&text, need->wanted, 10);
    tide_text_add(&text, " more bytes, and ");
    if (need->left == UINT64_MAX) {
        tide_text_add(&text, "no space is left for them");
    } else {
        tide_text_number(&text, need->left, 10);
        tide_text_add(&text, memory ? " can be taken" : " are free on its file system");
    }
    tide_text_add(&text, code == -EDQUOT ? " (there is a quota, too)" : "");
    return tide_source_say(source, memory ? code : -ENOSPC, line);
}

static int file_say_limit(struct tide_source *source, const struct tide_store_need *need)
{
    char line[160];
    struct tide_text text = {line, sizeof line, 0};
    tide_text_add(&text, "may not have ");
    tide_text_number(&text, need->wanted, 10);
    tide_text_add(&text, " bytes: ");
    if (need->wanted > need->left) {
        tide_text_add(&text, "this process may make files of ");
        tide_text_number(&text, need->left, 10);
        tide_text_add(&text, " (ulimit -f)");
    } else {
        tide_text_add(&text, "its file system has no files that large");
    }
    return tide_source_say(source, -EFBIG, line);
}

static int file_fill(struct tide_source *source, int fd, uint64_t size)
{
    struct tide_store_need need;
    int ret = tide_store_allocate(fd, size, &need);
    if (ret == -ENOMEM || ret == -ENOSPC || ret == -EDQUOT)
        return file_say_room(source, ret, &need);
    if (ret == -EFBIG)
        return file_say_limit(source, &need);
    return ret == 0 ? 0 : tide_source_say(source, ret, "cannot be allocated in full");
}

/* A name where the directory is: the new file itself is on hugetlbfs, or it is not. */
static int file_allocate(struct tide_source *source, struct tide_extent *out)
{
    struct tide_store now;
    int ret = tide_store_stat(out->fd, &now);
    if (ret != 0)
        return tide_source_say(source, ret, "cannot be looked at");
    out->file[0] = now.device;
    out->file[1] = now.inode;
    out->grown = now.size == 0;
    if (now.huge > out->align) {
        source->align = out->align = now.huge;
        if (out->size % now.huge != 0)
            return tide_source_say(source, -EINVAL,
                                   "is on hugetlbfs, and the size no multiple of its pages");
    }
    return source->later ? 0 : file_fill(source, out->fd, out->size);
}

static int file_grab(struct tide_source *source, size_t size, struct tide_extent *out)
{
    (void)size;
    bool fresh = source->create && source->capacity == 0;
    out->fd = tide_store_open(source->path, fresh);
    out->made = out->fd >= 0 && fresh;
    if (out->fd == -EEXIST) /* an empty file */
        out->fd = tide_store_open(source->path, false);
    if (fresh && (out->fd == -EACCES || out->fd == -EPERM))
        return tide_source_say(source, -EACCES, "may not be made in its directory by this user");
    if (out->fd < 0)
        return file_refused(source, out->fd);
    int ret = file_allocate(source, out);
    if (ret != 0) {
        if (out->made)
            tide_store_unlink(source->path);
        tide_file_close(out->fd);
        out->fd = -1;
    }
    return ret;
}

/* What others meanwhile have there stays. */
static void file_undo(const struct tide_source *source, const struct tide_extent *extent)
{
    if (extent->made)
        tide_store_unlink(source->path);
    else if (extent->grown)
        tide_store_empty(extent->fd);
}

static int memfd_accept(struct tide_source *source, const char *rest)
{
    if (*rest != '\0')
        return -EINVAL;
    file_accepted(source, "a memfd, as asked");
    return 0;
}

static int memfd_say_room(struct tide_source *source, const struct tide_store_need *need)
{
    char line[160];
    struct tide_text text = {line, sizeof line, 0};
    tide_text_add(&text, "there is not that much memory for a memfd: ");
    tide_text_number(&text, need->wanted, 10);
    tide_text_add(&text, " bytes are wanted, and ");
    tide_text_number(&text, need->left, 10);
    tide_text_add(&text, " can be taken");
    return tide_source_say(source, -ENOMEM, line);
}

static int memfd_grab(struct tide_source *source, size_t size, struct tide_extent *out)
{
    struct tide_store now;
    struct tide_store_need need = {size, 0};
    out->fd = tide_store_memfd("tidepool");
    if (out->fd < 0)
        return tide_source_say(source, out->fd, "this kernel gives no memfd");
    int ret = tide_store_allocate(out->fd, size, &need);
    if (ret == 0)
        ret = tide_store_stat(out->fd, &now);
    if (ret != 0) {
        tide_file_close(out->fd);
        out->fd = -1;
        return memfd_say_room(source, &need);
    }
    tide_store_seal(out->fd);
    out->file[0] = now.device;
    out->file[1] = now.inode;
    return 0;
}

const struct tide_source_ops tide_source_file = {"file",    file_accept, NULL,
                                                 file_grab, file_fill,   file_undo};
const struct tide_source_ops tide_source_memfd = {"memfd",    memfd_accept, NULL,
                                                  memfd_grab, NULL,         NULL};
