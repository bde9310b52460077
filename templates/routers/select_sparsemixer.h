// SparseMixer at inference (Liu et al., 2023; transformers' modeling_phimoe.py): k times the best logit b that is left; its weight
// is a softmax over those left whose logit is close to it, (b - z) / max(|z|, b) <= 2 jitter. Sections: list.h.

#ifdef SELECTION_ROW
SELECTION_ROW(SELECTION_SPARSEMIXER, sparsemixer, .words = "{k} by sparsemixer, jitter {jitter}",
              .weighs = "softmax of those near the best", .softmax = "must be \"softmax\": that is what sparsemixer computes",
              .takes_k = 1, .logits_alone = 1)
#endif

#ifdef SELECTION_SKELETON
// exp(best - best) / the sum of exp(z - best) over the close ones: sixteen chains, then the lane tree. What was removed is minus
// infinity, whose quotient is NaN (not far) and whose exponential is 0; so is the quotient of zeros, which are close.
INLINE float select_sparsemixer_weight(const Ranking *r, float best, float jitter) {
    Vector sum = vector_set(0);
    for (int64_t e = 0; e < r->width; e += LANES) {
        Vector z = vector_load(r->ranks + e), below = vector_set(best) - z;
        Integers far = below / vector_max(vector_absolute(z), vector_set(best)) > 2 * jitter;
        sum += vector_select(far, vector_set(0), vector_exp(-below));
    }
    return 1.0f / vector_sum(sum);
}

INLINE int64_t select_sparsemixer(const Ranking *r, const Layer *layer) {
    int64_t chosen = 0;
    for (int64_t best; chosen < r->most && (best = ranking_best(r->ranks, r->width)) >= 0; chosen++) {
        r->experts[chosen] = (int32_t)best;
        r->weights[chosen] = select_sparsemixer_weight(r, r->ranks[best], layer->jitter);
        ranking_remove(r->ranks, best);
    }
    return chosen;
}
#endif

#ifdef SELECTION_ORACLE
static int was_chosen_before(const int32_t *chosen, int64_t slot, int64_t e) {
    for (int64_t s = 0; s < slot; s++) {
        if (chosen[s] == e) {
            return 1;
        }
    }
    return 0;
}

// Among the experts left, those e stay with (m - z_e) / max(|z_e|, m) <= 2 jitter, m = z of the one chosen; its weight is
// 1 / sum over them of exp(z_e - m). Where errors leave open whether an expert stays, the bound covers both sums.
static Bounded oracle_weight_sparsemixer(const Layer *layer, const Bounded *z, const int32_t *chosen, int64_t slot) {
    Bounded m = z[chosen[slot]];
    double jitter = 2 * (double)layer->jitter, sum = 0, least = 0, greatest = 0, most = 0, spread = 0;
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        if (was_chosen_before(chosen, slot, e) || z[e].value == -INFINITY) {
            continue;
        }
        double factor = fmax(fabs(z[e].value), m.value), beyond = m.value - z[e].value - jitter * factor;
        double error = (m.error + z[e].error) * (1 + jitter) + 4 * unit_fp32 * (fabs(m.value - z[e].value) + jitter * factor);
        double term = exp(fmin(z[e].value - m.value, 600));
        int itself = e == chosen[slot], kept = itself || beyond <= 0;
        sum += kept ? term : 0;
        least += itself || beyond <= -error ? term : 0;
        greatest += itself || beyond <= error ? term : 0;
        spread += itself || beyond <= error ? term * fabs(m.value - z[e].value) : 0;
        most = fmax(most, z[e].error);
    }
    double own = error_gamma((double)layer_choices(layer) + 2 * function_units + spread / greatest, ERROR_WORST);
    double r = expm1(fmin(2 * most, 600)) * (1 + own) + own, value = 1 / sum;
    return bounded_image(value, fmax(1 - r, 0) / greatest, fmin((1 + r) / least, 1 + own));
}

static const OracleRule oracle_sparsemixer = {.weight = oracle_weight_sparsemixer};
#endif

#ifdef SELECTION_OPPONENT
// 1 / sum of exp(z_e - m) over those left that are close to the best.
static float opponent_weight_sparsemixer(const Layer *layer, const OpponentRow *row, int32_t best) {
    float sum = 0, m = row->z[best];
    for (int64_t e = 0; e < row->choices; e++) {
        float z = row->z[e], factor = fabsf(z) > m ? fabsf(z) : m;
        if (row->ranks[e] > -INFINITY && !((m - z) / factor > 2 * layer->jitter)) {
            sum += expf(z - m);
        }
    }
    return 1 / sum;
}

static int64_t opponent_select_sparsemixer(const Layer *layer, const OpponentRow *row) {
    int64_t chosen = 0;
    for (int32_t best; chosen < row->k && (best = opponent_best(row)) >= 0; chosen++) {
        float weight = opponent_weight_sparsemixer(layer, row, best);
        opponent_take(row, chosen, best);
        row->weights[chosen] = weight;
    }
    return chosen;
}
#endif

#ifdef SELECTION_TORCH
static void torch_select_sparsemixer(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 2, "left, experts, weights = z, [], []");
    torch_line(torch, 2, "for _ in range(%lld):", (long long)layer->top_k);
    torch_line(torch, 3, "best, index = left.max(-1, keepdim=True)");
    torch_line(torch, 3, "far = (best - z) / z.abs().clamp(min=best) > %s", TORCH_NUMBER(2 * layer->jitter));
    torch_line(torch, 3, "experts.append(index)");
    torch_line(torch, 3, "weights.append(torch.softmax(left.masked_fill(far, float(\"-inf\")), -1).gather(1, index))");
    torch_line(torch, 3, "left = left.scatter(1, index, float(\"-inf\"))");
    torch_line(torch, 2, "experts, weights = torch.cat(experts, 1), torch.cat(weights, 1)");
    torch_line(torch, 2, "used = torch.ones_like(experts, dtype=torch.bool)");
}
#endif
