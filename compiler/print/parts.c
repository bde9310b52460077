// The PyTorch module of a layer: router and experts.
#include <string.h>

#include "text.h"

// --- router ------------------------------------------------------------------------------------------------------------------

static void print_logits(const Torch *torch) {
    const Layer *layer = torch->layer;
    const char *t = layer->gate_per_iteration ? "t" : "0";
    torch_line(torch, 2, "z = F.linear(x, self.router[%s])", t);
    if (layer->logit_scale != 1) {
        torch_line(torch, 2, "z = %s * z", TORCH_NUMBER(layer->logit_scale));
    }
    if (layer->router_bias) {
        torch_line(torch, 2, "z = z + self.router_bias[%s]", t);
    }
    if (layer->softcap != 0) {
        torch_line(torch, 2, "z = %s * torch.tanh(z / %s)", TORCH_NUMBER(layer->softcap), TORCH_NUMBER(layer->softcap));
        if (layer->router_bias) {
            torch_line(torch, 2, "z = z.masked_fill(torch.isneginf(self.router_bias[%s]), float(\"-inf\"))", t);
        }
    }
}

static void print_groups(const Torch *torch) {
    const Layer *layer = torch->layer;
    long long groups = layer->groups, size = layer_choices(layer) / groups;
    torch_line(torch, 2, "groups = c.view(-1, %lld, %lld)", groups, size);
    torch_line(torch, 2, "best = groups.%s", layer->group_score == GROUP_MAX ? "amax(-1)" : "topk(2, -1).values.sum(-1)");
    torch_line(torch, 2, "order = torch.sort(best, dim=-1, descending=True, stable=True).indices[:, :%lld]",
               (long long)layer->top_groups);
    torch_line(torch, 2, "kept = torch.zeros_like(best, dtype=torch.bool).scatter(1, order, True)");
    torch_line(torch, 2, "c = c.masked_fill(~kept.repeat_interleave(%lld, 1), %s)", size,
               layer->group_mask == MASK_ZERO ? "0.0" : "float(\"-inf\")");
}

// The head of the ranking, which most rules begin with: ranked, experts and weights [tokens, k].
static void torch_ranking(const Torch *torch) {
    long long k = torch->layer->top_k;
    torch_line(torch, 2, "ranked, experts = torch.sort(c, dim=-1, descending=True, stable=True)  # ties: the lower index");
    torch_line(torch, 2, "ranked, experts = ranked[:, :%lld], experts[:, :%lld]", k, k);
    torch_line(torch, 2, "weights = s.gather(1, experts)");
}

// Of each file of routers/list.h torch_select_SYMBOL: experts and weights [tokens, k] from z, s and c [tokens, choices], and which
// of them are used.
#define SELECTION_TORCH
#include "templates/routers/list.h"

static void print_selection(const Torch *torch) {
    switch ((Selection)torch->layer->selection) {
#define SELECTION_ROW(enumerator, symbol, ...) \
    case enumerator: torch_select_##symbol(torch); break;
#include "templates/routers/list.h"
    case SELECTION_COUNT: break;
    }
    if (torch->layer->k_per_token) {
        torch_line(torch, 2, "if k is not None:");
        torch_line(torch, 3, "used = used & (torch.arange(%lld, device=x.device) < k[:, None])", (long long)torch->layer->top_k);
    }
}

// Scores are never negative. High powers of small ones would vanish, and gradients with them: the largest is taken out.
static void print_norm(const Torch *torch) {
    const char *p = TORCH_NUMBER(torch->layer->normalize_p);
    if (torch->layer->normalize_p == 1) {
        torch_line(torch, 2, "norm = weights.sum(-1, keepdim=True)");
    } else {
        torch_line(torch, 2, "largest = weights.detach().amax(-1, keepdim=True).clamp(min=1e-30)");
        torch_line(torch, 2, "norm = largest * torch.linalg.vector_norm(weights / largest, %s, -1, keepdim=True)", p);
    }
}

// What is divided by the norm and scaled: weights, and gates of shared experts that are joint.
static void print_scaled(const Torch *torch, const char *name) {
    const Layer *layer = torch->layer;
    const char *eps = TORCH_NUMBER(layer->normalize_eps);
    if (layer->normalize && layer->normalize_eps == 0) {
        torch_line(torch, 2, "%s = %s / norm.masked_fill(norm == 0, 1)  # where all are 0 they stay 0", name, name);
    } else if (layer->normalize) {
        torch_line(torch, 2, layer->normalize_clamp ? "%s = %s / norm.clamp(min=%s)" : "%s = %s / (norm + %s)", name, name, eps);
    }
    if (layer->scale != 1) {
        torch_line(torch, 2, "%s = %s * %s", name, name, TORCH_NUMBER(layer->scale));
    }
}

static void print_weights(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 2, "weights = weights * used");
    if (layer->normalize) {
        print_norm(torch);
    }
    if (layer->shared_joint) {
        torch_line(torch, 2, "gates = torch.sigmoid(F.linear(x, self.shared_expert_gate))  # of the shared experts");
        torch_line(torch, 2, "norm = norm + gates.sum(-1, keepdim=True)");
    }
    print_scaled(torch, "weights");
    if (layer->shared_joint) {
        print_scaled(torch, "gates");
    }
    if (layer->expert_scale) {  // choices that compute nothing have none
        torch_line(torch, 2, "weights = weights * F.pad(self.expert_scale, (0, %lld), value=1.0)[experts]",
                   (long long)(layer_choices(layer) - layer->experts));
    }
}

void torch_print_route(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 1, "def route(self, x, t%s):", layer->k_per_token ? ", k=None" : "");
    torch_line(torch, 2, "\"\"\"Experts and weights [tokens, %lld] (-1 and 0: unused), and the scores of all [tokens, %lld].\"\"\"",
               (long long)layer->top_k, (long long)layer_choices(layer));
    print_logits(torch);
    torch_line(torch, 2, "s = %s", score_facts[layer->score].torch);
    if (!selection_facts[layer->selection].logits_alone) {
        torch_line(torch, 2, "c = %s%s", layer->rank == RANK_SCORE ? "s" : "z",
                   !layer->correction          ? ""
                   : layer->gate_per_iteration ? " + self.correction[t]  # ranks, never weighs"
                                               : " + self.correction[0]  # ranks, never weighs");
        if (layer->router_bias && layer->rank == RANK_SCORE) {
            torch_line(torch, 2, "c = c.masked_fill(torch.isneginf(z), float(\"-inf\"))  # a bias that excludes the choice");
        }
    }
    if (layer->groups > 1) {
        print_groups(torch);
    }
    print_selection(torch);
    print_weights(torch);
    torch_line(torch, 2, "return experts.masked_fill(~used, -1), weights, s%s", layer->shared_joint ? ", gates" : "");
    torch_line(torch, 0, "%s", "");
}

// --- experts -----------------------------------------------------------------------------------------------------------------

// act(x) by the activation's row, its {x} and {slope} filled in.
static void activation_expression(const Layer *layer, const char *x, char *text, size_t size) {
    const ActivationFacts *facts = &activation_facts[layer->activation];
    size_t used = 0;
    for (const char *c = layer->slope == 1 ? facts->torch : facts->torch_slope; *c && used < size; c++) {
        const char *end = *c == '{' ? strchr(c, '}') : NULL;
        int written = end ? snprintf(text + used, size - used, "%s", c[1] == 'x' ? x : TORCH_NUMBER(layer->slope))
                          : snprintf(text + used, size - used, "%c", *c);
        used += (size_t)written;
        c = end ? end : c;
    }
}

// hidden = act(g) * (u + up_offset), limited and softly capped where the layer says so.
static void print_gated(const Torch *torch, float limit, int level) {
    const Layer *layer = torch->layer;
    const char *number = TORCH_NUMBER(limit), *cap = TORCH_NUMBER(layer->gate_softcap), *up_cap = TORCH_NUMBER(layer->up_softcap);
    bool after = layer->limit_place == LIMIT_AFTER_ACTIVATION;
    char activation[256];
    activation_expression(layer, "g", activation, sizeof activation);
    if (limit != 0 && after) {
        torch_line(torch, level, "u = u.clamp(min=-%s, max=%s)", number, number);
    } else if (limit != 0) {
        torch_line(torch, level, "g, u = g.clamp(max=%s), u.clamp(min=-%s, max=%s)", number, number, number);
    }
    if (layer->up_softcap != 0) {
        torch_line(torch, level, "u = %s * torch.tanh(u / %s)", up_cap, up_cap);
    }
    if (layer->gate_softcap != 0) {  // the sigmoid sees the gate as it was
        snprintf(activation, sizeof activation, "%s * torch.tanh(g / %s) * torch.sigmoid(%s * g)", cap, cap,
                 TORCH_NUMBER(layer->slope));
    }
    if (limit != 0 && after) {
        torch_line(torch, level, "a = (%s).clamp(max=%s)", activation, number);
        snprintf(activation, sizeof activation, "a");
    }
    if (layer->up_offset != 0) {
        torch_line(torch, level, "hidden = %s * (u + %s)", activation, TORCH_NUMBER(layer->up_offset));
    } else {
        torch_line(torch, level, "hidden = %s * u", activation);
    }
}

// One expert's way, on parameters that begin with `prefix`; limit: of gate and up.
static void print_expert(const Torch *torch, const char *prefix, int biased, float limit, const char *index, int level) {
    const Layer *layer = torch->layer;
    bool rounds = layer->compute == COMPUTE_BF16;
    const char *x = rounds ? "rounded(x)" : "x", *hidden = rounds ? "rounded(hidden)" : "hidden";
    char activation[256];
    if (layer->gated) {
        torch_line(torch, level, "g = F.linear(%s, self.%sgate[%s])", x, prefix, index);
    }
    torch_line(torch, level, "u = F.linear(%s, self.%sup[%s])", x, prefix, index);
    if (biased && layer->gated) {
        torch_line(torch, level, "g = g + self.%sgate_bias[%s]", prefix, index);
    }
    if (biased) {
        torch_line(torch, level, "u = u + self.%sup_bias[%s]", prefix, index);
    }
    if (layer->gated) {
        print_gated(torch, limit, level);
    } else {
        activation_expression(layer, "u", activation, sizeof activation);
        torch_line(torch, level, "hidden = %s", activation);
    }
    torch_line(torch, level, "output = F.linear(%s, self.%sdown[%s])", hidden, prefix, index);
    if (biased) {
        torch_line(torch, level, "output = output + self.%sdown_bias[%s]", prefix, index);
    }
}

void torch_print_experts(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 1, "def expert(self, e, x):");
    print_expert(torch, "", layer->expert_bias, layer->limit, "e", 2);
    torch_line(torch, 2, "return output");
    torch_line(torch, 0, "%s", "");
    if (!layer->shared_experts) {
        return;
    }
    torch_line(torch, 1, "def shared(self, x%s):", layer->shared_joint ? ", gates" : "");
    torch_line(torch, 2, "y = torch.zeros_like(x)");
    torch_line(torch, 2, "for e in range(%lld):", (long long)layer->shared_experts);
    print_expert(torch, "shared_", layer->shared_bias, layer->shared_limit, "e", 3);
    if (layer->shared_joint) {
        torch_line(torch, 3, "output = gates[:, e : e + 1] * output");
    } else if (layer->shared_gated) {
        torch_line(torch, 3, "output = torch.sigmoid(F.linear(x, self.shared_expert_gate[e : e + 1])) * output");
    }
    torch_line(torch, 3, "y = y + output");
    if (layer->shared_scale != 1) {
        torch_line(torch, 2, "return %s * y", TORCH_NUMBER(layer->shared_scale));
    } else {
        torch_line(torch, 2, "return y");
    }
    torch_line(torch, 0, "%s", "");
}
