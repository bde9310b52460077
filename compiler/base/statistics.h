// Medians and spreads: what every timing of this program is reported by.
#ifndef CATENA_STATISTICS_H
#define CATENA_STATISTICS_H

#include <stddef.h>

typedef struct Statistics {
    double median;
    double spread;  // interquartile range / median
    double min;
    size_t count;
} Statistics;

// Sorts the samples in place. All fields are 0 for no samples.
Statistics statistics_of(double *samples, size_t count);

// The value below which a fraction of ascending samples lies, interpolated linearly between neighbours. count >= 1.
double statistics_quantile(const double *sorted, size_t count, double fraction);

// Seconds of a clock that only goes forward.
double statistics_clock(void);

#endif
