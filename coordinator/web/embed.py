"""The page's files → a C file that holds each of them as it is and compressed: embed.py OUTPUT NAME=PATH...

The same input gives the same bytes. A name that carries a version (echarts-6.1.0.js) never changes its content, so
browsers may keep it for ever.
"""
import gzip
import hashlib
import re
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
LINE = 96


def literal(data):
    """Lines of C string literals. Octal escapes have three digits, so that no following digit joins them."""
    for start in range(0, len(data), LINE):
        text = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in data[start:start + LINE])
        yield f'        "{text}"\n'


output, *files = sys.argv[1:]
assets = []
with open(output, "w", encoding="ascii") as out:
    out.write('#include "web/web.h"\n')
    for index, argument in enumerate(sorted(files)):
        name, path = argument.split("=", 1)
        with open(path, "rb") as file:
            data = file.read()
        packed = gzip.compress(data, 9, mtime=0)
        for kind, content in (("plain", data), ("gzip", packed)):
            out.write(f"\nstatic const char {kind}_{index}[] =\n")
            out.writelines(literal(content))
            out.write("        ;\n")
        kind = TYPES[name[name.rindex("."):]]
        fixed = "true" if re.search(r"-\d+\.\d+\.\d+\.", name) else "false"
        digest = hashlib.sha256(data).hexdigest()[:32]
        assets.append(f'        {{"{name}", "{kind}", "\\"{digest}\\"", plain_{index}, {len(data)}, gzip_{index}, {len(packed)}, {fixed}}},\n')
    out.write("\nconst struct web_asset web_assets[] = {\n")
    out.writelines(assets)
    out.write(f"}};\nconst size_t web_n_assets = {len(assets)};\n")
