#!/usr/bin/env bash
# entry_plugin.sh - the archive as a part of a shared object that a program opens and closes again:
# nothing of it is called afterwards, at a fork above all.
set -u
. "$(dirname "$0")/lib_prog.sh"
need "$BUILD/libtidepool_api.a"
CC=${CC:-gcc}

cat >"$TMP/plugin.c" <<'EOF'
#include <tidepool/malloc.h>
void use(void);
void use(void)
{
    tide_free(tide_malloc(100));
}
EOF
cat >"$TMP/program.c" <<'EOF'
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    int status = 0;
    if (plugin == NULL)
        return 2;
    ((void (*)(void))dlsym(plugin, "use"))();
    if (dlclose(plugin) != 0 || dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) != NULL)
        return 3;
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    return waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7 ? 0 : 4;
}
EOF
if "$CC" -shared -fPIC -pthread -Iinclude -o "$TMP/plugin.so" "$TMP/plugin.c" \
    "$BUILD/libtidepool_api.a" >"$TMP/make" 2>&1 &&
    "$CC" -o "$TMP/program" "$TMP/program.c" -ldl >>"$TMP/make" 2>&1; then
    ok 'plugin: it is built'
else
    bad 'plugin: it is built' "$TMP/make"
fi
bare "$TMP/program" "$TMP/plugin.so"
STATUS=$?
if ((STATUS == 0)); then
    ok 'plugin: a program forks when it has closed it'
else
    bad "plugin: a program forks when it has closed it (exit $STATUS)" "$TMP/err"
fi
finish
