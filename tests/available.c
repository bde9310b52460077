// See available.h.
#include "available.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/library/compile.h"
#include "compiler/machine/site.h"
#include "compiler/plan/paths.h"

static bool detect(Machine *machine) {
    if (machine_detect(machine)) {
        fprintf(stderr, "tests: this machine cannot be described\n");
        exit(EXIT_FAILURE);
    }
    return true;
}

bool available_target(const Target *target) {
    Machine machine;
    return detect(&machine) && site_supports(&machine, target, NULL);
}

bool available_path(const Target *target, Path path) {
    Machine machine;
    return target_tile(target, path)->max_rows && available_target(target) && detect(&machine) &&
           paths_able(&machine, target, path);
}

bool available_program(const char *name) {
    char command[256];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

bool available_torch(void) {
    return system(AVAILABLE_PYTHON " -c 'import torch, numpy, safetensors' >/dev/null 2>&1") == 0;
}

// One thing that was not run.
static void print(int *count, const char *name, const char *path, const char *reason) {
    printf("%s%s%s%s (%s)", (*count)++ ? ", " : "not run: ", name, *path ? " " : "", path, reason);
}

static void report_target(int *count, const Target *target) {
    if (!available_target(target)) {
        const bool emulated = target == &target_neon;
        if (!emulated) {
            print(count, target->name, "", "CPU");
        } else if (!available_program(AVAILABLE_NEON)) {
            print(count, target->name, "", "no " AVAILABLE_NEON);
        } else {
            print(count, target->name, "tiles by themselves", "CPU; whole libraries ran under " AVAILABLE_NEON);
        }
        return;
    }
    for (int p = 0; p < PATH_COUNT; p++) {
        if (target_tile(target, (Path)p)->max_rows && !available_path(target, (Path)p)) {
            print(count, target->name, path_name((Path)p), "CPU");
        }
    }
}

int available_report(void) {
    static const char wrong_cpu[] = "qemu-x86_64";
    int count = 0;
    for (int t = 0; targets[t]; t++) {
        report_target(&count, targets[t]);
    }
    if (!available_program(wrong_cpu)) {
        print(&count, "libraries on a CPU that lacks their instructions", "", "no qemu-x86_64");
    }
    if (!available_torch()) {
        print(&count, "printed PyTorch modules", "", "no torch for python3; CATENA_PYTHON names another");
    }
    if (count) {
        printf("\n");
    }
    const char *ci = getenv("CI");
    if (ci && !strcmp(ci, "true") && !(available_program(AVAILABLE_NEON) && available_program(wrong_cpu))) {
        printf("CI=true, but qemu is missing: .ci/deps installs it\n");
        return -1;
    }
    return 0;
}
