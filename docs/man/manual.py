"""Makes a manual page out of a frame in mdoc(7) and what the programs say themselves, so that pages and --help cannot differ.

    manual.py FRAME OUTPUT NAME=PATH…

Lines of the frame that begin with @ are replaced: @usage CMD, @summary CMD, @options CMD, @commands CMD by parts of `CMD --help`;
@keys CMD by the keys of a configuration file (`CMD --dump-config`).
"""
import re
import subprocess
import sys

LEFT = 28  # the width of the left column of --help


def escape(text):
    """Text that mdoc takes as it is, in ASCII."""
    text = text.replace("\\", "\\e")
    text = "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)
    return "\\&" + text if text[:1] in (".", "'") else text


def prose(text):
    """A paragraph as lines, a sentence each."""
    return [escape(sentence) for sentence in re.split(r"(?<=[a-z)0-9][.?!]) +(?=[^ ])", text.strip())]


def split_option(line):
    """'  --name ARG    help' → (name, ARG or None, help)"""
    line = line[2:]
    if len(line) > LEFT and line[LEFT] == " " and line[:LEFT].count(" ") >= LEFT - len(line[:LEFT].rstrip()):
        words, text = line[:LEFT].split(), line[LEFT + 1:]
    else:
        words, text = [], line
    if not words or len(words) > 2:  # the left part is too long for its column
        parts = line.split(" ", 2)
        words, text = parts[:2], parts[2]
    return words[0].removeprefix("--"), words[1] if len(words) > 1 else None, text.strip()


class Help:
    def __init__(self, command, programs):
        words = command.split()
        path = programs[words[0]]
        self.run = lambda *more: subprocess.run([path, *words[1:], *more], check=True, capture_output=True, text=True).stdout
        text = self.run("--help")
        head, _, options = text.partition("\n\noptions:\n")
        head, _, commands = head.partition("\n\ncommands:\n")
        lines = head.removeprefix("usage: ").split("\n")
        n = 1
        while n < len(lines) and lines[n].startswith("       "):
            n += 1
        self.usage = [line.strip() for line in lines[:n]]
        self.summary = lines[n:]
        self.options = [split_option(line) for line in options.splitlines() if line.startswith("  --")]
        self.commands = [(line[2:2 + LEFT].rstrip(), line[2 + LEFT:].strip()) for line in commands.splitlines()]


def usage(help):
    """The lines as they are: their grammar is richer than mdoc's."""
    out = [".Bd -literal"]
    out += [escape(line) for line in help.usage]
    return out + [".Ed"]


def summary(help):
    return prose(" ".join(line.strip() for line in help.summary if line.strip()))


def options(help):
    out = [".Bl -tag -width Ds"]
    for name, argument, text in help.options:
        out += [f".It Fl Fl {name}" + (f" Ar {escape(argument)}" if argument else "")] + prose(text)
    return out + [".El"]


def commands(help):
    out = [".Bl -tag -width Ds"]
    for left, text in help.commands:
        name, _, arguments = left.partition(" ")
        out += [f".It Cm {name}" + (f" Ar {escape(arguments)}" if arguments else "")] + prose(text)
    return out + [".El"]


def keys(help):
    known = {name: (argument, text) for name, argument, text in help.options}
    out = [".Bl -tag -width Ds"]
    for line in help.run("--dump-config").splitlines():
        name = re.match(r"#? ?([a-z-]+) =", line).group(1)
        argument, text = known[name]
        out += [f".It Ic {name} = Ar {escape(argument or 'true|false')}"] + prose(text)
    return out + [".El"]


def main(frame, output, *programs):
    paths = dict(program.split("=", 1) for program in programs)
    makers = {"usage": usage, "summary": summary, "options": options, "commands": commands, "keys": keys}
    page = []
    for line in open(frame, encoding="utf-8").read().splitlines():
        word, _, command = line[1:].partition(" ")
        page += makers[word](Help(command, paths)) if line.startswith("@") else [line]
    with open(output, "w", encoding="ascii") as file:
        file.write("\n".join(page) + "\n")


main(*sys.argv[1:])
