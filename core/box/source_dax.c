/* source_dax.c - see source.h: a devdax device, mapped shared.
 *
 * The device's own size is 0 and its mappings have to be aligned: what it is, sysfs tells.
 * Nothing is opened before sysfs has said that it is such a device. */
#include "box/diag.h"
#include "box/file.h"
#include "box/source.h"
#include "box/store.h"

const char *tide_source_sysfs = "/sys";

static const char *dax_name(const struct tide_source *source)
{
    const char *slash = strrchr(source->path, '/');
    return slash != NULL ? slash + 1 : source->path;
}

/* A number in the device's directory of sysfs; 0 when there is none. */
static uint64_t dax_number(const struct tide_store *device, const char *what)
{
    char path[128], buf[32];
    struct tide_text text = {path, sizeof path, 0};
    uint64_t value = 0;
    tide_text_add(&text, tide_source_sysfs);
    tide_text_add(&text, "/dev/char/");
    tide_text_number(&text, device->major, 10);
    tide_text_add(&text, ":");
    tide_text_number(&text, device->minor, 10);
    tide_text_add(&text, what);
    if (tide_file_read(path, buf, sizeof buf) <= 0)
        return 0;
    for (const char *at = buf; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

/* Does another driver have the device of this name, the one that makes it system RAM? */
static bool dax_is_ram(const struct tide_source *source)
{
    char path[TIDE_SOURCE_TEXT + 64], driver[256];
    struct tide_text text = {path, sizeof path, 0};
    tide_text_add(&text, tide_source_sysfs);
    tide_text_add(&text, "/bus/dax/devices/");
    tide_text_add(&text, dax_name(source));
    tide_text_add(&text, "/driver");
    int len = tide_file_link(path, driver, sizeof driver);
    return len >= 4 && strcmp(driver + len - 4, "kmem") == 0;
}

static int dax_say_ram(struct tide_source *source)
{
    return tide_source_say(source, -ENXIO,
                           "is in system-ram mode: say mid=node:N, or change it (daxctl "
                           "reconfigure-device --mode=devdax)");
}

static int dax_refused(struct tide_source *source, int ret)
{
    if (ret == -ENXIO || ret == -ENODEV || dax_is_ram(source))
        return dax_say_ram(source);
    if (ret == -ENOENT || ret == -ENOTDIR)
        return tide_source_say(source, -ENOENT, "does not exist");
    if (ret == -EACCES || ret == -EPERM)
        return tide_source_say(source, -EACCES, "may not be read and written by this user");
    return tide_source_say(source, ret, "cannot be opened for reading and writing");
}

static int dax_accept(struct tide_source *source, const char *rest)
{
    struct tide_store found;
    if (rest[0] != ':' || rest[1] == '\0')
        return -EINVAL;
    memcpy(source->path, rest + 1, strlen(rest + 1) + 1);
    int ret = tide_store_look(source->path, &found);
    if (ret != 0)
        return dax_refused(source, ret);
    source->capacity = found.kind == TIDE_STORE_CHAR ? dax_number(&found, "/size") : 0;
    source->align = found.kind == TIDE_STORE_CHAR ? dax_number(&found, "/align") : 0;
    if (found.kind == TIDE_STORE_CHAR && source->align == 0 && dax_is_ram(source))
        return dax_say_ram(source);
    if (found.kind == TIDE_STORE_FILE)
        return tide_source_say(source, -ENODEV, "is a file and no device (say file:PATH)");
    if (!tide_is_pow2(source->align))
        return tide_source_say(source, -ENODEV,
                               "is no devdax device: sysfs knows no alignment of it");
    if (source->capacity < source->align)
        return tide_source_say(source, -EFBIG, "has no memory: its size is less than its align");
    int fd = tide_store_open(source->path, false);
    if (fd < 0)
        return dax_refused(source, fd);
    tide_file_close(fd);
    source->shared = source->far = true;
    source->why = "the device asked for";
    return 0;
}

static int dax_grab(struct tide_source *source, size_t size, struct tide_extent *out)
{
    struct tide_store now;
    (void)size;
    out->fd = tide_store_open(source->path, false);
    if (out->fd < 0)
        return dax_refused(source, out->fd);
    if (tide_store_stat(out->fd, &now) == 0) {
        out->file[0] = now.device;
        out->file[1] = now.inode;
    }
    return 0;
}

const struct tide_source_ops tide_source_dax = {"dax", dax_accept, NULL, dax_grab, NULL, NULL};
