// The loader of a printed PyTorch module: the description's table of tensors, and the few lines of Python that read them.
#include "templates/plan.h"
#include "text.h"

static int has_encoding(const Torch *torch, Encoding encoding) {
    for (int t = 0; t < TENSOR_COUNT; t++) {
        const TensorSource *source = &torch->entry->checkpoint.tensors[t];
        if (*source->pattern && source->encoding == (int32_t)encoding) {
            return 1;
        }
    }
    return 0;
}

// The names of tensors are checked by the description's parser for braces only.
static void print_text(const Torch *torch, const char *text) {
    fputc('"', torch->stream);
    torch_escaped(torch, text);
    fputc('"', torch->stream);
}

static void print_table(const Torch *torch) {
    const Checkpoint *checkpoint = &torch->entry->checkpoint;
    torch_line(torch, 1, "# Where each parameter is in a checkpoint: name, rows of the tensor, order, a number to add, rounding.");
    torch_line(torch, 1, "first_layer, layer_step = %lld, %lld", (long long)checkpoint->first_layer,
               (long long)checkpoint->layer_step);
    torch_line(torch, 1, "tensors = {");
    for (int t = 0; t < TENSOR_COUNT; t++) {
        const TensorSource *source = &checkpoint->tensors[t];
        RoleName role = plan_tensor_role((Tensor)t);
        Format format = role == ROLE_COUNT ? FORMAT_FP32 : plan_format(torch->layer, role);
        if (!*source->pattern) {
            continue;
        }
        int codes_kept = source->encoding && source->encoding == format_facts[format].takes;
        fprintf(torch->stream, "        \"%s\": (", layer_tensor_key((Tensor)t));
        print_text(torch, source->pattern);
        fprintf(torch->stream, ", \"%s\", \"%s\", %s, lambda value: %s),\n", tensor_rows_names[source->rows],
                source->encoding == ENCODING_MXFP4 ? "mxfp4" : tensor_order_names[source->order], TORCH_NUMBER(source->add),
                format_facts[format].torch && !codes_kept ? format_facts[format].torch : "value");
    }
    torch_line(torch, 1, "}");
    torch_line(torch, 0, "%s", "");
}

// Program text without anything to fill in.
static void print_lines(const Torch *torch, const char *const *lines) {
    for (; *lines; lines++) {
        fprintf(torch->stream, "%s\n", *lines);
    }
}

static const char *const load_lines[] = {
    "    def load(self, path, index=0):",
    "        \"\"\"Reads layer `index` from a .safetensors file, or from a folder with one or with an index of several.\"\"\"",
    "        read = open_checkpoint(path)",
    "        layer = self.first_layer + index * self.layer_step",
    "        for key, (name, rows, order, add, rounded) in self.tensors.items():",
    "            parameter = getattr(self, key)",
    "            name = name.replace(\"{layer}\", str(layer))",
    "            if \"{expert}\" in name or \"{iteration}\" in name:",
    "                names = [name.replace(\"{expert}\", str(i)).replace(\"{iteration}\", str(i)) for i in range(len(parameter))]",
    "                value = torch.stack([read(one, order) for one in names])",
    "            else:",
    "                value = read(name, order)",
    "            shape = list(parameter.shape)",
    "            if rows == \"one\":",
    "                value, rows = value.reshape(1).expand(shape), \"all\"",
    "            elif rows in (\"choices\", \"shared_experts\"):  # the router's, and below them those of the shared experts' "
    "gates",
    "                last = [shape[-1], -1] if order == \"in_out\" else [-1, shape[-1]]",
    "                value = value.reshape(shape[:-2] + last)",
    "                value = value.transpose(-1, -2) if order == \"in_out\" else value",
    "                value = value[..., : shape[-2], :] if rows == \"choices\" else value[..., -shape[-2] :, :]",
    "                rows, order = \"all\", \"out_in\"",
    "            if rows != \"all\":",
    "                shape[1] *= 2",
    "            if order == \"in_out\":",
    "                value = value.reshape(shape[0], shape[2], shape[1]).transpose(1, 2)",
    "            value = value.reshape(shape)",
    "            half = shape[1] // 2 if rows != \"all\" else 0",
    "            if rows == \"first_half\":",
    "                value = value[:, :half]",
    "            elif rows == \"second_half\":",
    "                value = value[:, half:]",
    "            elif rows in (\"even\", \"odd\"):",
    "                value = value[:, (rows == \"odd\") :: 2]",
    "            parameter.data = rounded(value.float() + add).float()",
    "",
    NULL};

static const char *const open_lines[] = {
    "",
    "def open_checkpoint(path):",
    "    \"\"\"A function from a tensor's name to the tensor.\"\"\"",
    "    from safetensors import safe_open",
    "",
    "    index, single = (os.path.join(path, name) for name in (\"model.safetensors.index.json\", \"model.safetensors\"))",
    "    if not os.path.isdir(path):",
    "        files = [path]",
    "    elif os.path.exists(single):",
    "        files = [single]",
    "    elif os.path.exists(index):",
    "        with open(index) as stream:",
    "            named = {os.path.join(path, file) for file in json.load(stream)[\"weight_map\"].values()}",
    "        files = [file for file in named if os.path.exists(file)]",
    "    else:  # shards without an index",
    "        files = glob.glob(os.path.join(glob.escape(path), \"*-of-*.safetensors\"))",
    "    shards = [safe_open(file, \"pt\") for file in sorted(files)]",
    "    place = {name: shard for shard in shards for name in shard.keys()}",
    NULL};

static const char *const plain_lines[] = {"    return lambda name, order: place[name].get_tensor(name)", "", NULL};

// One scale for 128 x 128 elements; blocks at the edges are smaller.
static const char *const fp8_lines[] = {"",
                                        "    def read(name, order):",
                                        "        value = place[name].get_tensor(name)",
                                        "        if value.dtype != torch.float8_e4m3fn:",
                                        "            return value",
                                        "        scales = place[name + \"_scale_inv\"].get_tensor(name + \"_scale_inv\").float()",
                                        "        scales = scales.repeat_interleave(128, -2).repeat_interleave(128, -1)",
                                        "        return value.float() * scales[..., : value.shape[-2], : value.shape[-1]]",
                                        "",
                                        "    return read",
                                        "",
                                        NULL};

// OCP Microscaling Formats (MX) 1.0, section 5.3: e2m1 numbers in blocks of 32 with a shared exponent; low nibbles first.
static const char *const mxfp4_lines[] = {
    "    values = torch.tensor([0.0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])",
    "",
    "    def read(name, order):",
    "        if order != \"mxfp4\":",
    "            return place[name].get_tensor(name)",
    "        blocks = place[name + \"_blocks\"].get_tensor(name + \"_blocks\").int()",
    "        scales = place[name + \"_scales\"].get_tensor(name + \"_scales\").int() - 127",
    "        numbers = values[torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2)]",
    "        return torch.ldexp(numbers, scales[..., None]).flatten(-2)",
    "",
    "    return read",
    "",
    NULL};

void torch_print_loader(const Torch *torch) {
    print_table(torch);
    print_lines(torch, load_lines);
}

void torch_print_opener(const Torch *torch) {
    print_lines(torch, open_lines);
    print_lines(torch, has_encoding(torch, ENCODING_MXFP4)      ? mxfp4_lines
                       : has_encoding(torch, ENCODING_FP8_E4M3) ? fp8_lines
                                                                : plain_lines);
}
