// The PyTorch module of a layer: parameters, forward and main. Router and experts are in parts.c, the loader in loader.c.
#include "module.h"

#include <ctype.h>
#include <string.h>

#include "text.h"

// Shape of a tensor's parameter as Python text.
static void parameter_shape(const Layer *layer, Tensor tensor, char *text, size_t size) {
    long long gates = layer_routers(layer), choices = layer_choices(layer), hidden = layer->hidden;
    int shared = tensor >= TENSOR_SHARED_GATE && tensor <= TENSOR_SHARED_DOWN_BIAS;
    long long count = shared ? layer->shared_experts : layer->experts;
    long long width = shared ? layer->shared_intermediate : layer->intermediate, latent = layer->latent;
    long long outer = shared ? hidden : layer_pool_width(layer);
    switch (tensor) {
    case TENSOR_NORM:
    case TENSOR_NORM_BIAS:
    case TENSOR_POST_NORM:
    case TENSOR_OUTPUT_BIAS:
    case TENSOR_OUTPUT_SCALE:
    case TENSOR_RESIDUAL_BIAS:
    case TENSOR_RESIDUAL_SCALE: snprintf(text, size, "%lld", hidden); return;
    case TENSOR_EXPERT_SCALE: snprintf(text, size, "%lld", (long long)layer->experts); return;
    case TENSOR_COE_WEIGHT: snprintf(text, size, "%lld", (long long)layer->iterations - 1); return;
    case TENSOR_ROUTER: snprintf(text, size, "%lld, %lld, %lld", gates, choices, hidden); return;
    case TENSOR_ROUTER_BIAS:
    case TENSOR_CORRECTION: snprintf(text, size, "%lld, %lld", gates, choices); return;
    case TENSOR_SHARED_EXPERT_GATE: snprintf(text, size, "%lld, %lld", (long long)layer->shared_experts, hidden); return;
    case TENSOR_GATE:
    case TENSOR_UP:
    case TENSOR_SHARED_GATE:
    case TENSOR_SHARED_UP: snprintf(text, size, "%lld, %lld, %lld", count, width, outer); return;
    case TENSOR_DOWN:
    case TENSOR_SHARED_DOWN: snprintf(text, size, "%lld, %lld, %lld", count, outer, width); return;
    case TENSOR_GATE_BIAS:
    case TENSOR_UP_BIAS:
    case TENSOR_SHARED_GATE_BIAS:
    case TENSOR_SHARED_UP_BIAS: snprintf(text, size, "%lld, %lld", count, width); return;
    case TENSOR_DOWN_BIAS:
    case TENSOR_SHARED_DOWN_BIAS: snprintf(text, size, "%lld, %lld", count, outer); return;
    case TENSOR_LATENT_IN: snprintf(text, size, "%lld, %lld", latent, hidden); return;
    case TENSOR_LATENT_NORM: snprintf(text, size, "%lld", latent); return;
    case TENSOR_LATENT_OUT: snprintf(text, size, "%lld, %lld", hidden, latent); return;
    case TENSOR_COUNT: break;
    }
    *text = 0;
}

// Matrices start as a linear layer's would, factors at one, other vectors at zero.
static void print_parameters(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 1, "def __init__(self):");
    torch_line(torch, 2, "super().__init__()");
    for (int t = 0; t < TENSOR_COUNT; t++) {
        char shape[96];
        if (!layer_has_tensor(layer, (Tensor)t)) {
            continue;
        }
        parameter_shape(layer, (Tensor)t, shape, sizeof shape);
        long long width = layer_tensor_inputs(layer, (Tensor)t);
        if (width) {
            torch_line(torch, 2, "self.%s = nn.Parameter(torch.randn(%s) * %lld**-0.5)", layer_tensor_key((Tensor)t), shape, width);
        } else {
            torch_line(torch, 2, "self.%s = nn.Parameter(torch.%s(%s))", layer_tensor_key((Tensor)t),
                       layer_tensor_factors((Tensor)t) ? "ones" : "zeros", shape);
        }
    }
    torch_line(torch, 0, "%s", "");
}

// A norm of rows: where it goes, and parameters' names.
typedef struct TorchNorm {
    Norm kind;
    float eps;
    int64_t width;
    const char *to, *from, *weight, *bias;
} TorchNorm;

static void print_norm(const Torch *torch, int level, const TorchNorm *norm) {
    switch (norm->kind) {
    case NORM_NONE: torch_line(torch, level, "%s = %s", norm->to, norm->from); return;
    case NORM_RMS:
        torch_line(torch, level, "%s = %s * torch.rsqrt(%s.square().mean(-1, keepdim=True) + %s) * %s", norm->to, norm->from,
                   norm->from, TORCH_NUMBER(norm->eps), norm->weight);
        return;
    case NORM_LAYER:
        torch_line(torch, level, "%s = F.layer_norm(%s, (%lld,), %s, %s, %s)", norm->to, norm->from, (long long)norm->width,
                   norm->weight, norm->bias, TORCH_NUMBER(norm->eps));
        return;
    case NORM_COUNT: return;
    }
}

// What the routed experts of a latent layer read.
static void print_latent(const Torch *torch, int level) {
    const Layer *layer = torch->layer;
    torch_line(torch, level, "z = F.linear(%s, self.latent_in)", layer->compute == COMPUTE_BF16 ? "rounded(x)" : "x");
    if (layer->latent_norm != NORM_NONE) {
        print_norm(
            torch, level,
            &(TorchNorm){(Norm)layer->latent_norm, layer->latent_norm_eps, layer->latent, "z", "z", "self.latent_norm", "None"});
    }
}

// y: the chosen experts, then those that compute nothing, then the shared ones.
static void print_combination(const Torch *torch, int level) {
    const Layer *layer = torch->layer;
    long long experts = layer->experts, identity = experts + layer->identity_experts;
    const char *x = layer->latent ? "z" : "x";
    if (layer->latent) {
        print_latent(torch, level);
    }
    torch_line(torch, level, "y = torch.zeros_like(%s)", x);
    torch_line(torch, level, "for e in range(%lld):", experts);
    torch_line(torch, level + 1, "token, slot = (experts == e).nonzero(as_tuple=True)");
    torch_line(torch, level + 1, "w = weights[token, slot, None]");
    torch_line(torch, level + 1,
               layer->weight_on == WEIGHT_ON_INPUT ? "y = y.index_add(0, token, self.expert(e, w * %s[token]))"
                                                   : "y = y.index_add(0, token, w * self.expert(e, %s[token]))",
               x);
    if (layer->identity_experts) {
        torch_line(torch, level, "identity = (experts >= %lld) & (experts < %lld)  # experts that return their input", experts,
                   identity);
        torch_line(torch, level, "y = y + (weights * identity).sum(-1, keepdim=True) * %s", x);
    }
    if (layer->latent) {
        torch_line(torch, level, "y = F.linear(%s, self.latent_out)", layer->compute == COMPUTE_BF16 ? "rounded(y)" : "y");
    }
    if (layer->shared_experts) {
        torch_line(torch, level, "y = y + self.shared(x%s)", layer->shared_joint ? ", gates" : "");
    }
    if (layer->output_bias) {
        torch_line(torch, level, "y = y + self.output_bias");
    }
}

static void print_step(const Torch *torch, int level) {
    const Layer *layer = torch->layer;
    char inner[64] = "";
    if (layer->inner_residual && layer->inner_alpha == 1) {
        snprintf(inner, sizeof inner, "x + ");
    } else if (layer->inner_residual) {
        snprintf(inner, sizeof inner, "%s * x + ", TORCH_NUMBER(layer->inner_alpha));
    }
    if (layer->coe_weight) {  // a converted MoE: the last iteration's output stands alone
        torch_line(torch, level, "x = %sself.coe_weight[t] * y if t < %lld else y", inner, (long long)layer->iterations - 1);
    } else {
        torch_line(torch, level, "x = %sy", inner);
    }
}

static void print_result(const Torch *torch) {
    const Layer *layer = torch->layer;
    const char *h = layer->residual_bias ? "(h + self.residual_bias)" : "h";
    const char *scale = layer->residual_scale ? " * self.residual_scale" : "";
    char outer[128] = "", factor[32] = "";
    if (layer->outer_residual && layer->alpha == 1) {
        snprintf(outer, sizeof outer, "%s%s + ", h, scale);
    } else if (layer->outer_residual) {
        snprintf(outer, sizeof outer, "%s * %s%s + ", TORCH_NUMBER(layer->alpha), h, scale);
    }
    if (layer->multiplier != 1) {
        snprintf(factor, sizeof factor, "%s * ", TORCH_NUMBER(layer->multiplier));
    }
    torch_line(torch, 2, "return %s%sx%s, routing", outer, factor, layer->output_scale ? " * self.output_scale" : "");
}

static void print_forward(const Torch *torch) {
    const Layer *layer = torch->layer;
    torch_line(torch, 1, "def forward(self, h%s):", layer->k_per_token ? ", k=None, importance=None" : "");
    torch_line(torch, 2, "\"\"\"h [tokens, %lld] -> output of the same shape, and (experts, weights, scores) of each iteration.%s",
               (long long)layer->hidden, layer->k_per_token ? "" : "\"\"\"");
    if (layer->k_per_token) {  // importance_to_k of runtime/importance.h, whose product is rounded to float too
        torch_line(torch, 0, "%s", "");
        torch_line(torch, 2, "k [tokens]: experts of each token; or importance [tokens], within 0..1, from which k follows.");
        torch_line(torch, 2, "\"\"\"");
        torch_line(torch, 2, "if k is not None and importance is not None:");
        torch_line(torch, 3, "raise ValueError(\"k and importance are both given: either decides how many experts a token gets\")");
        torch_line(torch, 2, "if importance is not None:");
        torch_line(torch, 3, "k = torch.ceil(importance.float() * %lld).clamp(self.k_min, self.k)", (long long)layer->experts);
    }
    print_norm(torch, 2,
               &(TorchNorm){(Norm)layer->norm, layer->norm_eps, layer->hidden, "x", "h", "self.norm",
                            layer->norm_bias ? "self.norm_bias" : "None"});
    torch_line(torch, 2, "routing = []");
    torch_line(torch, 2, "for t in range(%lld):", (long long)layer->iterations);
    torch_line(torch, 3, "experts, weights, scores%s = self.route(x, t%s)", layer->shared_joint ? ", gates" : "",
               layer->k_per_token ? ", k" : "");
    torch_line(torch, 3, "routing.append((experts, weights, scores))");
    print_combination(torch, 3);
    print_step(torch, 3);
    if (layer->post_norm != NORM_NONE) {
        print_norm(torch, 2,
                   &(TorchNorm){(Norm)layer->post_norm, layer->post_norm_eps, layer->hidden, "x", "x", "self.post_norm", "None"});
    }
    print_result(torch);
    torch_line(torch, 0, "%s", "");
}

static void print_main(const Torch *torch, const char *class) {
    const Layer *layer = torch->layer;
    bool loads = *torch->entry->checkpoint.tensors[TENSOR_DOWN].pattern;
    torch_line(torch, 0, "%s", "");
    torch_line(torch, 0, "if __name__ == \"__main__\":");
    torch_line(torch, 1, "import argparse");
    torch_line(torch, 0, "%s", "");
    torch_line(torch, 1, "import numpy");
    torch_line(torch, 0, "%s", "");
    torch_line(torch, 1, "parser = argparse.ArgumentParser(description=__doc__)");
    if (loads) {
        torch_line(torch, 1,
                   "parser.add_argument(\"--weights\", required=True, help=\"checkpoint: a .safetensors file or a folder\")");
        torch_line(torch, 1,
                   "parser.add_argument(\"--index\", type=int, default=0, help=\"which of the description's %lld layers\")",
                   (long long)torch->entry->count);
    }
    torch_line(torch, 1, "parser.add_argument(\"--input\", required=True, help=\".npy, float32 [tokens, %lld]\")",
               (long long)layer->hidden);
    if (layer->k_per_token) {
        torch_line(torch, 1, "either = parser.add_mutually_exclusive_group()");
        torch_line(torch, 1, "either.add_argument(\"--k\", help=\".npy, int32 [tokens]\")");
        torch_line(torch, 1, "either.add_argument(\"--importance\", help=\".npy, float32 [tokens] within 0..1, instead of --k\")");
    }
    torch_line(torch, 1, "parser.add_argument(\"--output\", required=True, help=\".npy\")");
    torch_line(torch, 1, "arguments = parser.parse_args()");
    torch_line(torch, 1, "layer = %s()", class);
    if (loads) {
        torch_line(torch, 1, "layer.load(arguments.weights, arguments.index)");
    }
    torch_line(torch, 1, "h = torch.from_numpy(numpy.load(arguments.input))");
    if (layer->k_per_token) {
        torch_line(torch, 1, "k, importance = (torch.from_numpy(numpy.load(path)) if path else None");
        torch_line(torch, 1, "                 for path in (arguments.k, arguments.importance))");
    }
    torch_line(torch, 1, "with torch.no_grad():");
    torch_line(torch, 2, "y, _ = layer(h%s)", layer->k_per_token ? ", k, importance" : "");
    torch_line(torch, 1, "numpy.save(arguments.output, y.numpy())");
}

// CamelCase of a layer's name. What follows keeps it apart from Python's words (None, True) and from the program's own names (F).
static const char class_suffix[] = "Layer";

static void class_name(const char *name, char *class, size_t size) {
    size_t length = 0;
    int upper = 1;
    for (; *name && length + sizeof class_suffix < size; name++) {
        if (*name == '_') {
            upper = 1;
            continue;
        }
        class[length++] = (char)(upper ? toupper((unsigned char)*name) : *name);
        upper = 0;
    }
    memcpy(class + length, class_suffix, sizeof class_suffix);
}

void torch_module_print(const Model *model, const ModelLayer *entry, const char *source, FILE *stream) {
    const Torch torch = {stream, entry, &entry->layer};
    const Layer *layer = &entry->layer;
    char class[LAYER_NAME_BYTES + sizeof class_suffix];
    bool loads = *entry->checkpoint.tensors[TENSOR_DOWN].pattern;
    class_name(entry->name, class, sizeof class);
    torch_line(&torch, 0, "\"\"\"Layer %s of %s: hidden %lld, %lld experts of %lld, k %lld, %lld iteration%s.", entry->name,
               model->name, (long long)layer->hidden, (long long)layer->experts, (long long)layer->intermediate,
               (long long)layer->top_k, (long long)layer->iterations, layer->iterations == 1 ? "" : "s");
    torch_line(&torch, 0, "%s", "");
    fputs("Printed by catena from ", stream);
    torch_escaped(&torch, source);
    fputs(".\n", stream);
    torch_line(&torch, 0, "\"\"\"");
    torch_line(&torch, 0, "%s", "");
    if (loads) {
        torch_line(&torch, 0, "import glob");
        torch_line(&torch, 0, "import json");
        torch_line(&torch, 0, "import os");
        torch_line(&torch, 0, "%s", "");
    }
    torch_line(&torch, 0, "import torch");
    torch_line(&torch, 0, "import torch.nn.functional as F");
    torch_line(&torch, 0, "from torch import nn");
    torch_line(&torch, 0, "%s", "");
    torch_line(&torch, 0, "%s", "");
    if (layer->compute == COMPUTE_BF16) {
        torch_line(&torch, 0, "def rounded(x):");
        torch_line(&torch, 1, "\"\"\"To bfloat16 and back; gradients pass as if nothing had happened.\"\"\"");
        torch_line(&torch, 1, "return x + (x.bfloat16().float() - x).detach()");
        torch_line(&torch, 0, "%s", "");
        torch_line(&torch, 0, "%s", "");
    }
    torch_line(&torch, 0, "class %s(nn.Module):", class);
    torch_line(&torch, 1, "hidden, k = %lld, %lld", (long long)layer->hidden, (long long)layer->top_k);
    if (layer->k_per_token) {
        torch_line(&torch, 1, "k_min = %lld", (long long)layer->k_min);
    }
    torch_line(&torch, 0, "%s", "");
    print_parameters(&torch);
    torch_print_route(&torch);
    torch_print_experts(&torch);
    print_forward(&torch);
    if (loads) {
        torch_print_loader(&torch);
        torch_print_opener(&torch);
    }
    print_main(&torch, class);
}
