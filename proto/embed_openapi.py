"""openapi.yaml and sweep-spec.schema.json → a C file with the one JSON document that the server serves.

Usage: embed_openapi.py openapi.yaml sweep-spec.schema.json OUT.c
"""
import json
import sys

import yaml


def move_definitions(node, prefix):
    """References inside the schema, now that it is a component."""
    if isinstance(node, dict):
        return {key: prefix + value[1:] if key == "$ref" else move_definitions(value, prefix) for key, value in node.items()}
    return [move_definitions(item, prefix) for item in node] if isinstance(node, list) else node


description, schema, target = sys.argv[1:]
with open(description, encoding="utf-8") as file:
    document = yaml.safe_load(file)
with open(schema, encoding="utf-8") as file:
    document["components"]["schemas"]["SweepSpec"] = move_definitions(json.load(file), "#/components/schemas/SweepSpec")
data = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\0"
with open(target, "w", encoding="ascii") as out:
    out.write('#include "proto/openapi.h"\n\nconst char openapi_json[] = {\n')
    for start in range(0, len(data), 20):
        out.write("        " + " ".join(f"{byte}," for byte in data[start:start + 20]) + "\n")
    out.write("};\n")
