#!/usr/bin/env python3
"""Writes tests/data/import/aliases.json: which of two names of one setting counts in the configuration classes of transformers.

    tests/import_aliases.py > tests/data/import/aliases.json      (pip install transformers==5.24.0 torch)

One object for each alias that import reads: `both` are the keys of a configuration that has the two names with different values,
`counts` the name whose value the class takes. tests/test_import_evidence.c imports both, and the one that counts alone, and wants
the same description.
"""
import json

from import_defaults import NEEDED, READ, TYPES
from transformers import CONFIG_MAPPING

MORE = {"hunyuan_v1_moe": {"num_experts": 8}, "flex_olmo": {"num_experts_per_tok": 2}}  # no more choices than half the experts

cases = []
for model_type in TYPES.split():
    needed = NEEDED.get(model_type, {}) | MORE.get(model_type, {})
    for alias, own in (CONFIG_MAPPING[model_type].attribute_map or {}).items():
        if alias not in READ or own not in READ:
            continue
        default = getattr(CONFIG_MAPPING[model_type](**needed), own)
        other = not default if isinstance(default, bool) else default[::-1] if isinstance(default, list) else default // 2 or 2
        # The value that counts keeps the model in order, as groups divide it: each name has the default once.
        for first, second in ((own, alias), (alias, own)):
            both = {**{k: v for k, v in needed.items() if k != own}, first: other, second: default}
            taken = getattr(CONFIG_MAPPING[model_type](**both), own)
            counts = first if taken == both[first] else second
            assert taken == both[counts] and both[first] != both[second], (model_type, both, taken)
            cases.append({"model_type": model_type, "both": both, "counts": counts, "not": second if counts == first else first})
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
