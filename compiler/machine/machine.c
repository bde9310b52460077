// The topology of a machine from hwloc: of this one, restricted to what this process may use, or of one that is described.
//
// Descriptions come from elsewhere, and hwloc's importers trust them more than is wise (an assertion or a huge index of a damaged
// file ends the process). So they are read by a child process, with bounds on its time and memory, which hands back the flat
// Machine through a pipe: whatever happens to it is an error message here.
#define _GNU_SOURCE
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REASON_BYTES = 200, LONGEST_FILE = 64 << 20, LONGEST_TEXT = 4096, CHILD_SECONDS = 20 };

// --- what a topology says ----------------------------------------------------------------------------------------------------

static const hwloc_obj_type_t cache_types[MACHINE_MAX_CACHES] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                                                 HWLOC_OBJ_L4CACHE};

// The number of the first of `count` equal things that `object` is, with new ones added.
static int16_t number_of(hwloc_obj_t *seen, int64_t *count, int64_t capacity, hwloc_obj_t object) {
    for (int64_t i = *count - 1; i >= 0; i--) {  // neighbours come one after the other
        if (seen[i] == object) {
            return (int16_t)i;
        }
    }
    if (!object || *count == capacity) {
        return -1;
    }
    seen[*count] = object;
    return (int16_t)(*count)++;
}

// The first node whose memory is local to a hardware thread: where there are several, the others are extra memory.
static hwloc_obj_t node_of(hwloc_topology_t topology, hwloc_obj_t unit) {
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node))) {
        if (hwloc_bitmap_isset(node->cpuset, unit->os_index)) {
            return node;
        }
    }
    return NULL;
}

static void read_units(Machine *machine, hwloc_topology_t topology) {
    hwloc_obj_t cores[MACHINE_MAX_UNITS], nodes[MACHINE_MAX_NODES], unit = NULL;
    int16_t siblings[MACHINE_MAX_UNITS] = {0};
    int64_t core_count = 0, node_count = 0;
    while (machine->unit_count < MACHINE_MAX_UNITS && (unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit))) {
        MachineUnit *out = &machine->units[machine->unit_count++];
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, unit);
        int16_t node = number_of(nodes, &node_count, MACHINE_MAX_NODES, node_of(topology, unit));
        out->number = (int32_t)unit->os_index;
        out->core = number_of(cores, &core_count, MACHINE_MAX_UNITS, core ? core : unit);
        out->sibling = siblings[out->core]++;
        out->node = node < 0 ? 0 : node;
    }
    machine->cores_allowed = core_count;
    machine->numa_nodes = node_count ? node_count : 1;
}

// Kinds in the order of their speed, as hwloc ranks them from frequencies, capacities and names; one where it cannot.
static void read_kinds(Machine *machine, hwloc_topology_t topology) {
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    int kinds = hwloc_cpukinds_get_nr(topology, 0);
    machine->kinds = 1;
    int16_t rank = 0;
    for (int k = 0; set && k < kinds; k++) {
        int efficiency;
        bool used = false;
        if (hwloc_cpukinds_get_info(topology, (unsigned)k, set, &efficiency, NULL, NULL, 0) || efficiency < 0) {
            break;
        }
        for (int64_t i = 0; i < machine->unit_count; i++) {
            if (hwloc_bitmap_isset(set, (unsigned)machine->units[i].number)) {
                machine->units[i].kind = rank;
                used = true;
            }
        }
        rank = (int16_t)(rank + used);
    }
    machine->kinds = rank > 1 ? rank : 1;
    hwloc_bitmap_free(set);
}

// The first hardware thread of the fastest kind: its caches stand for the machine's.
static hwloc_obj_t fastest_unit(const Machine *machine, hwloc_topology_t topology) {
    for (int64_t i = 0; i < machine->unit_count; i++) {
        if (machine->units[i].kind == machine->kinds - 1) {
            return hwloc_get_pu_obj_by_os_index(topology, (unsigned)machine->units[i].number);
        }
    }
    return NULL;
}

static void read_caches(Machine *machine, hwloc_topology_t topology) {
    hwloc_obj_t fastest = fastest_unit(machine, topology), seen[MACHINE_MAX_UNITS];
    for (size_t type = 0; fastest && type < MACHINE_MAX_CACHES; type++) {
        hwloc_obj_t object = hwloc_get_ancestor_obj_by_type(topology, cache_types[type], fastest);
        int64_t level = machine->cache_count, count = 0;
        if (!object || !object->attr) {
            continue;
        }
        machine->cache_count++;
        machine->caches[level] = (MachineCache){.level = object->attr->cache.depth,
                                                .bytes = (int64_t)object->attr->cache.size,
                                                .line_bytes = object->attr->cache.linesize,
                                                .shared_by = hwloc_bitmap_weight(object->cpuset)};
        for (int64_t i = 0; i < machine->unit_count; i++) {
            hwloc_obj_t unit = hwloc_get_pu_obj_by_os_index(topology, (unsigned)machine->units[i].number);
            hwloc_obj_t own = hwloc_get_ancestor_obj_by_type(topology, cache_types[type], unit);
            machine->units[i].caches[level] = number_of(seen, &count, MACHINE_MAX_UNITS, own);
            machine->caches[level].cores += own == object && machine->units[i].sibling == 0;
        }
    }
}

// The kernel's table of latencies (SLIT, 10 is a node's own), if there is one.
static void read_distances(Machine *machine, hwloc_topology_t topology) {
    struct hwloc_distances_s *distances;
    unsigned count = 1;
    if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, &distances, HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) ||
        !count) {
        return;
    }
    double near = 0, far = 0;
    unsigned n = distances->nbobjs;
    for (unsigned i = 0; i < n * n; i++) {
        *(i / n == i % n ? &near : &far) += (double)distances->values[i];
    }
    near = n ? near / n : 0;
    far = n > 1 ? far / n / (n - 1) : 0;
    if (near > 0 && far >= near && far < 1e6) {
        machine->near_distance = (int64_t)near;
        machine->far_distance = (int64_t)far;
    }
    hwloc_distances_release(topology, distances);
}

static const char *info_of(hwloc_topology_t topology, hwloc_obj_type_t type, const char *name) {
    hwloc_obj_t object = hwloc_get_obj_by_type(topology, type, 0);
    return object ? hwloc_obj_get_info_by_name(object, name) : NULL;
}

static void read_topology(Machine *machine, hwloc_topology_t topology) {
    const char *name = info_of(topology, HWLOC_OBJ_PACKAGE, "CPUModel");
    snprintf(machine->cpu, sizeof machine->cpu, "%s", name ? name : "unknown CPU");
    machine->units_allowed = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    read_units(machine, topology);
    read_kinds(machine, topology);
    read_caches(machine, topology);
    read_distances(machine, topology);
}

// --- this machine ------------------------------------------------------------------------------------------------------------

int machine_detect(Machine *machine) {
    hwloc_topology_t topology;
    memset(machine, 0, sizeof *machine);
    machine_detect_system(machine);
    if (hwloc_topology_init(&topology)) {
        return -1;
    }
    // Restricted to the affinity mask of this process: caches then count only those who may use them.
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM | HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_CPUBINDING;
    int status = hwloc_topology_set_flags(topology, flags) || hwloc_topology_load(topology) ? -1 : 0;
    if (!status) {
        read_topology(machine, topology);
    }
    hwloc_topology_destroy(topology);
    return status;
}

// --- a machine that is not there ---------------------------------------------------------------------------------------------

// What the child hands back.
typedef struct Reading {
    char reason[REASON_BYTES];  // "": the machine was read
    Machine machine;
} Reading;

// What only descriptions need: there is no kernel to ask.
static void read_described(Machine *machine, hwloc_topology_t topology) {
    const char *architecture = info_of(topology, HWLOC_OBJ_MACHINE, "Architecture");
    hwloc_obj_t root = hwloc_get_root_obj(topology);
    snprintf(machine->architecture, sizeof machine->architecture, "%.15s", architecture ? architecture : "");
    machine->units_online = machine->units_allowed;
    machine->threads = machine->cores_allowed;
    machine->memory_total = root->total_memory < INT64_MAX ? (int64_t)root->total_memory : 0;
    machine->memory_available = machine->memory_total;
    machine->page_bytes = 4096;
    snprintf(machine->huge_pages, sizeof machine->huge_pages, "unknown");
}

// text: the file's content where `bytes` is not 0, otherwise a synthetic description.
static void read_description(const char *text, size_t bytes, Reading *reading) {
    hwloc_topology_t topology;
    Machine *machine = &reading->machine;
    if (hwloc_topology_init(&topology)) {
        snprintf(reading->reason, sizeof reading->reason, "out of memory");
        return;
    }
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    if (bytes ? hwloc_topology_set_xmlbuffer(topology, text, (int)bytes) : hwloc_topology_set_synthetic(topology, text)) {
        snprintf(reading->reason, sizeof reading->reason, "hwloc does not take it for a topology");
    } else if (hwloc_topology_load(topology)) {
        snprintf(reading->reason, sizeof reading->reason, "hwloc makes no topology of it");
    } else if (hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU) > MACHINE_MAX_UNITS) {
        snprintf(reading->reason, sizeof reading->reason, "it has %d hardware threads, expected at most %d",
                 hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU), MACHINE_MAX_UNITS);
    } else if (hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE) > MACHINE_MAX_NODES) {
        snprintf(reading->reason, sizeof reading->reason, "it has %d NUMA nodes, expected at most %d",
                 hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE), MACHINE_MAX_NODES);
    } else {
        read_topology(machine, topology);
        read_described(machine, topology);
    }
    hwloc_topology_destroy(topology);
}

static void limit(int resource, rlim_t value) {
    struct rlimit bounds;
    if (!getrlimit(resource, &bounds)) {
        bounds.rlim_cur = value < bounds.rlim_max ? value : bounds.rlim_max;
        setrlimit(resource, &bounds);
    }
}

static void write_all(int file, const void *data, size_t bytes) {
    const char *from = data;
    ssize_t written = 0;
    for (; bytes && (written = write(file, from, bytes)) > 0; bytes -= (size_t)written) {
        from += written;
    }
}

// The child's life. hwloc's own words on standard error are for its developers.
static void child_run(const char *text, size_t bytes, int out) {
    static Reading reading;
    int nowhere = open("/dev/null", O_WRONLY);
    limit(RLIMIT_CPU, CHILD_SECONDS);
    limit(RLIMIT_CORE, 0);
#ifndef __SANITIZE_ADDRESS__  // whose shadow alone is larger
    limit(RLIMIT_DATA, (rlim_t)4 << 30);
#endif
    if (nowhere >= 0) {
        dup2(nowhere, STDERR_FILENO);
    }
    read_description(text, bytes, &reading);
    write_all(out, &reading, sizeof reading);
    _exit(0);
}

// Reads until the end, at most `bytes`.
static size_t read_all(int file, void *data, size_t bytes) {
    size_t got = 0;
    ssize_t part;
    do {
        part = read(file, (char *)data + got, bytes - got);
        got += part > 0 ? (size_t)part : 0;
    } while (got < bytes && (part > 0 || (part < 0 && errno == EINTR)));
    return got;
}

// Lets a child read the description. Returns 0, or -1 with the reason in the reading.
static int read_in_child(const char *text, size_t bytes, Reading *reading) {
    int ends[2];
    memset(reading, 0, sizeof *reading);
    if (pipe2(ends, O_CLOEXEC)) {
        snprintf(reading->reason, sizeof reading->reason, "it cannot be read: %s", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (!child) {
        close(ends[0]);
        child_run(text, bytes, ends[1]);
    }
    close(ends[1]);
    size_t got = read_all(ends[0], reading, sizeof *reading);
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    if (got < sizeof *reading) {
        snprintf(reading->reason, sizeof reading->reason, "%s",
                 child < 0 ? "no process can be started to read it" : "hwloc ended while it read it: it is damaged or too large");
    }
    return *reading->reason ? -1 : 0;
}

// The beginning of what was found, on one line of printable characters.
static const char *excerpt(const char *text, char out[48]) {
    size_t n = 0;
    for (; text[n] && n < 40; n++) {
        out[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '.');
    }
    snprintf(out + n, 48 - n, "%s", text[n] ? "..." : "");
    return out;
}

// Hardware threads that a synthetic description asks for: the product of the numbers of its levels (attributes in parentheses and
// memory in brackets aside). hwloc builds all of them before anybody can count.
static double synthetic_units(const char *text) {
    double product = 1;
    int depth = 0;
    for (const char *c = text; *c; c++) {
        depth += (*c == '(' || *c == '[') - (*c == ')' || *c == ']');
        bool begins = *c >= '0' && *c <= '9' && (c == text || c[-1] == ':' || c[-1] == ' ');
        if (begins && depth == 0) {
            char *end;
            product *= strtod(c, &end);
            c = end - 1;
        }
    }
    return product;
}

static int read_synthetic(const char *text, Reading *reading, Diagnostics *diagnostics) {
    char found[48];
    double units = synthetic_units(text);
    if (strlen(text) > LONGEST_TEXT || !(units <= (double)MACHINE_MAX_UNITS)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "topology '%s': it has %.6g hardware threads, expected at most %d",
                        excerpt(text, found), units, MACHINE_MAX_UNITS);
        return -1;
    }
    if (read_in_child(text, 0, reading)) {
        diagnostics_add(diagnostics, NULL, 0, 0,
                        "topology '%s': no such file, and no synthetic description: %s; expected a file that 'lstopo FILE.xml' "
                        "wrote, or a text such as \"pack:2 numa:1 l3:1 core:24 pu:2\"",
                        excerpt(text, found), reading->reason);
        return -1;
    }
    snprintf(reading->machine.cpu, sizeof reading->machine.cpu, "synthetic %.100s", text);
    return 0;
}

static int read_file(const char *path, Reading *reading, Diagnostics *diagnostics) {
    char found[48];
    struct stat facts;
    FILE *file = fopen(path, "re");
    char *text = NULL;
    int status = -1;
    if (!file || fstat(fileno(file), &facts) || !S_ISREG(facts.st_mode)) {
        diagnostics_add(diagnostics, path, 0, 0, "cannot read: %s", file ? "it is no file" : strerror(errno));
    } else if (facts.st_size == 0 || facts.st_size > LONGEST_FILE) {
        diagnostics_add(diagnostics, path, 0, 0, "it has %lld bytes, expected an export of hwloc (1 byte to %d MiB)",
                        (long long)facts.st_size, LONGEST_FILE >> 20);
    } else if ((text = calloc(1, (size_t)facts.st_size + 1))) {
        size_t bytes = fread(text, 1, (size_t)facts.st_size, file);
        status = read_in_child(text, bytes + 1, reading);  // hwloc wants the zero counted
        if (status) {
            diagnostics_add(diagnostics, path, 0, 0, "%s; it begins with '%s', expected what 'lstopo FILE.xml' writes",
                            reading->reason, excerpt(text, found));
        }
    }
    if (file) {
        fclose(file);
    }
    free(text);
    return status;
}

int machine_read(const char *source, Machine *machine, Diagnostics *diagnostics) {
    struct stat facts;
    size_t length = strlen(source);
    bool is_file = !stat(source, &facts) || (length > 4 && !strcmp(source + length - 4, ".xml"));
    Reading *reading = calloc(1, sizeof *reading);
    if (!reading) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    int status = is_file ? read_file(source, reading, diagnostics) : read_synthetic(source, reading, diagnostics);
    if (!status) {
        *machine = reading->machine;
    }
    free(reading);
    return status;
}
