// Threads by OpenMP, so that a host program's pool (PyTorch, OpenBLAS, ...) is shared instead of doubled.
//
// The size of a team is what the runtime gives, not what was asked for: inside a caller's own parallel region it is usually one.
// After fork() a child has no worker threads, and libgomp does not notice: its next parallel region would wait for them for ever.
// So the forking thread ends its workers first. Parent and child start new ones with their next region.
#define _GNU_SOURCE 1
#include "team.h"

#include <omp.h>
#include <sched.h>
#include <string.h>

struct Team {
    int64_t threads;
};

// --- fork ------------------------------------------------------------------------------------------------------------------------

// libgomp has it since gcc 9, libomp since LLVM 9; without it nothing can be done.
#pragma weak omp_pause_resource_all

// pthread_atfork is not in libc.so, what it calls is.
int __register_atfork(void (*before)(void), void (*parent)(void), void (*child)(void), void *owner);

static int32_t pauses;  // how often workers were ended: later ones may have the identity of earlier ones

// Within a parallel region it does nothing.
static void end_workers(void) {
    if (omp_pause_resource_all) {
        omp_pause_resource_all(omp_pause_soft);
    }
    __atomic_add_fetch(&pauses, 1, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void prepare_for_forks(void) {
    __register_atfork(end_workers, NULL, NULL, NULL);  // never removed: a library that was loaded stays loaded
}

// --- running ---------------------------------------------------------------------------------------------------------------------

void team_barrier(Team *team) {
    if (team->threads > 1) {
#pragma omp barrier
    }
}

#if defined(__x86_64__)
#include <xmmintrin.h>
enum { FLOAT_DEFAULT = 0x1f80 };
static uint64_t float_read(void) {
    return _mm_getcsr();
}
static void float_write(uint64_t state) {
    _mm_setcsr((unsigned)state);
}
#elif defined(__aarch64__)
enum { FLOAT_DEFAULT = 0 };
static uint64_t float_read(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    return state;
}
static void float_write(uint64_t state) {
    __asm__ volatile("msr fpcr, %0" : : "r"(state) : "memory");
}
#endif

uint64_t team_float_begin(void) {
    uint64_t state = float_read();
    float_write(FLOAT_DEFAULT);
    return state;
}

void team_float_end(uint64_t state) {
    float_write(state);
}

static void run_thread(LayerForward *forward, Call *call, int64_t thread, int64_t threads) {
    Team team = {threads};
    uint64_t state = team_float_begin();
    forward(call, &team, thread, threads);
    team_float_end(state);
}

// Binds a worker to its CPU once; never the caller's thread. Workers may be shared with other users of OpenMP in the process.
static void bind_worker(Library *library, int thread) {
    pthread_t self = pthread_self();
    if (!thread || pthread_equal(library->bound[thread], self)) {
        return;
    }
    int cpu = library->cpus[thread % library->cpu_count];
    size_t bytes = CPU_ALLOC_SIZE((size_t)cpu + 1);
    cpu_set_t mask[16];  // 16384 CPUs
    if (bytes <= sizeof mask) {
        CPU_ZERO_S(bytes, mask);
        CPU_SET_S((size_t)cpu, bytes, mask);
        sched_setaffinity(0, bytes, mask);
    }
    library->bound[thread] = self;
}

// Those that were ended since they were bound.
static void forget_ended_workers(Library *library) {
    int32_t now = __atomic_load_n(&pauses, __ATOMIC_RELAXED);
    if (library->bound_pauses != now) {
        memset(library->bound, 0, (size_t)library->threads * sizeof *library->bound);
        library->bound_pauses = now;
    }
}

void team_run(Library *library, int64_t kind, Call *call) {
    LayerForward *forward = library->forwards[kind];
    int wanted = library->threads_given ? 0 : library->kinds[kind].plan.schedule.threads;
    int threads = wanted && wanted < library->threads ? wanted : library->threads;
    if (threads == 1) {
        run_thread(forward, call, 0, 1);
        return;
    }
    if (library->bind) {
        forget_ended_workers(library);
    }
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        if (library->bind) {
            bind_worker(library, thread);
        }
        run_thread(forward, call, thread, omp_get_num_threads());
    }
}
