// Medians and spreads.
#include "statistics.h"

#include <stdlib.h>
#include <time.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double statistics_quantile(const double *sorted, size_t count, double fraction) {
    double position = fraction * (double)(count - 1);
    size_t below = (size_t)position;
    if (below + 1 >= count) {
        return sorted[count - 1];
    }
    return sorted[below] + (position - (double)below) * (sorted[below + 1] - sorted[below]);
}

Statistics statistics_of(double *samples, size_t count) {
    Statistics statistics = {0};
    if (!count) {
        return statistics;
    }
    qsort(samples, count, sizeof *samples, compare_doubles);
    statistics.count = count;
    statistics.min = samples[0];
    statistics.median = statistics_quantile(samples, count, 0.5);
    double range = statistics_quantile(samples, count, 0.75) - statistics_quantile(samples, count, 0.25);
    statistics.spread = statistics.median > 0 ? range / statistics.median : 0;
    return statistics;
}

double statistics_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
