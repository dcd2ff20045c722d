"""Writes numbered SQL files as a C source: embed.py OUTPUT FILE..."""
import os
import sys

output, *files = sys.argv[1:]
lines = ['#include "schema/schema.h"', '', 'const struct migration schema_migrations[] = {']
for version, path in enumerate(sorted(files), 1):
    name = os.path.basename(path)
    if int(name.split('_')[0]) != version:
        sys.exit(f'{name}: expected migration number {version:04}')
    with open(path, encoding='utf-8') as file:
        text = file.read().splitlines()
    lines.append(f'        {{{version}, "{name}",')
    for line in text:
        escaped = line.replace('\\', '\\\\').replace('"', '\\"')
        lines.append(f'         "{escaped}\\n"')
    lines.append('        },')
lines += ['};', f'const size_t schema_n_migrations = {len(files)};', '']
with open(output, 'w', encoding='utf-8') as file:
    file.write('\n'.join(lines))
