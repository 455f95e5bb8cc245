/* Takes memory on every CUDA device that it may open, and keeps them busy until SIGTERM or its time is over.
 *
 *   hold MEBIBYTES SECONDS
 *
 * Prints `devices N`, a line `GPU-<uuid>` for each, `holding`, and `done` at its end. libcuda is looked for
 * when it runs, so that this builds and starts anywhere: without a driver or a device it says `devices 0`. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 16

static volatile sig_atomic_t is_over;

static void end(int number) {
    (void)number;
    is_over = 1;
}

static void *library;

static void *call(const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        printf("libcuda lacks %s\n", name);
        exit(3);
    }
    return found;
}

static void must(int code, const char *what) {
    if (code) {
        printf("%s: CUDA error %d\n", what, code);
        exit(4);
    }
}

int main(int argc, char **argv) {
    size_t bytes = (size_t)(argc > 1 ? atol(argv[1]) : 64) << 20;
    time_t until = time(NULL) + (argc > 2 ? atol(argv[2]) : 5);
    unsigned long long memory[MOST];
    void *context[MOST];
    unsigned char id[16];
    int count = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, end);
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        printf("devices 0\nno driver: %s\n", dlerror());
        return 0;
    }
    int code = ((int (*)(unsigned))call("cuInit"))(0);
    if (!code) must(((int (*)(int *))call("cuDeviceGetCount"))(&count), "cuDeviceGetCount");
    printf("devices %d\n", count);
    if (code) printf("cuInit: CUDA error %d\n", code);
    if (!count) return 0;
    if (count > MOST) count = MOST;
    for (int i = 0; i < count; i++) {
        int device;
        must(((int (*)(int *, int))call("cuDeviceGet"))(&device, i), "cuDeviceGet");
        must(((int (*)(void *, int))call("cuDeviceGetUuid_v2"))(id, device), "cuDeviceGetUuid");
        printf("GPU-");
        for (int j = 0; j < 16; j++) printf(j == 4 || j == 6 || j == 8 || j == 10 ? "-%02x" : "%02x", id[j]);
        printf("\n");
        must(((int (*)(void **, int))call("cuDevicePrimaryCtxRetain"))(&context[i], device), "context");
        must(((int (*)(void *))call("cuCtxSetCurrent"))(context[i]), "cuCtxSetCurrent");
        must(((int (*)(unsigned long long *, size_t))call("cuMemAlloc_v2"))(&memory[i], bytes), "cuMemAlloc");
    }
    printf("holding\n");
    while (!is_over && time(NULL) < until) {
        for (int i = 0; i < count; i++) {
            must(((int (*)(void *))call("cuCtxSetCurrent"))(context[i]), "cuCtxSetCurrent");
            must(((int (*)(unsigned long long, unsigned char, size_t))call("cuMemsetD8_v2"))(memory[i], 1, bytes), "memset");
            must(((int (*)(void))call("cuCtxSynchronize"))(), "cuCtxSynchronize");
        }
    }
    printf("done\n");
    return 0;
}
