#!/usr/bin/env python3
"""Follows a page: runs its blocks of code as they stand, in their order, in one shell, as a reader would.

Usage: follow.py PAGE [--to TEXT] [--print]

Blocks are what stands between ``` and ```; the word behind the first ``` says what a block is:

  sh             is run in bash, in the shell of the page. Each of its commands must succeed.
  sh until=WORD  is run in a terminal of its own, until the end of the page: the next block begins when it has printed WORD.
  text output    is what the block before it must have printed; blanks at the ends of lines do not count.
  python         is saved in the current folder, as the file that the line above the block names in backticks.
  go             a program or a test, with a package clause, is saved likewise. Other code is the body of a function that
                 returns an error: it is compiled and run with the names that fragment.go lists.

Other blocks are not run, nor is one below a line `<!-- not run: REASON -->`. --to TEXT ends after the first block that prints
TEXT. --print prints the commands instead of running them.

The shell has $HOME/confab, the clone that README makes, unless the page is README itself.
"""
import argparse
import os
import re
import shlex
import sys
from pathlib import Path

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
FRAGMENT = (Path(__file__).resolve().parent / "fragment.go").read_text(encoding="utf-8").removeprefix("//go:build ignore\n")

# The functions that the shell of a page has before its first block.
PRELUDE = r"""
set -e
work=$(mktemp -d)
where=the\ beginning background=() began=$SECONDS
stop() {
	code=$?
	trap - EXIT
	set +e
	if ((code)); then
		printf 'follow: %s failed; it had printed:\n' "$where" >&2
		[[ ! -e $work/last ]] || tail -n 60 "$work/last" >&2
	fi
	for job in "${background[@]}"; do
		kill -- -"$job" 2>/dev/null
		for _ in {1..100}; do kill -0 -- -"$job" 2>/dev/null && sleep 0.1 || break; done
		kill -9 -- -"$job" 2>/dev/null
	done
	times >"$work/times"
	cpu=$(awk -F'[ms ]+' 'NR == 2 { printf "%.1f", $1 + $2 / 60 + $3 + $4 / 60 }' "$work/times")
	rm -rf "$work"
	((code)) || printf '%s in %d.%d minutes, %s of a processor\n' "$did" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60 / 6)) "$cpu"
	exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
fresh() { rm -f "$work/last"; : >"$work/last"; } # the file for what the next block prints
await() { # WORD: waits for at most two minutes until the newest background block has printed it
	for _ in {1..1200}; do
		! grep -qF -- "$1" "$work/last" || return 0
		kill -0 -- -"${background[-1]}" 2>/dev/null || break
		sleep 0.1
	done
	echo "it has not printed $1" >>"$work/last"
	return 1
}
printed() { # TEXT: fails unless the last block has printed it
	[[ $(sed 's/[[:blank:]]*$//' "$work/last") == *"$1"* ]] && return
	printf -- '-- the page says that it prints:\n%s\n' "$1" >>"$work/last"
	return 1
}
enough() { # TEXT: ends the page if the last block has printed it
	! grep -qsF -- "$1" "$work/last" || { did="followed until a block printed \"$1\","; exit 0; }
}
"""


class Block:
    def __init__(self, page, line, info, text, above):
        self.where = f"{page}:{line}"
        self.language, _, self.attribute = info.strip().partition(" ")
        self.text, self.above = text, above
        self.runs = self.language in ("sh", "python", "go") and not NOT_RUN.search(above)

    def file(self):
        """Returns the name under which the block is saved."""
        suffix = {"python": "py", "go": "go"}[self.language]
        names = re.findall(rf"`([\w-]+\.{suffix})`", self.above)
        if not names:
            sys.exit(f"follow: {self.where}: the line above the block does not name a file")
        return names[-1]


def blocks(page, text):
    found = []
    for m in FENCE.finditer(text):
        before = text[: m.start()].rstrip("\n")
        found.append(Block(page, text.count("\n", 0, m.start()) + 1, m["info"], m["text"], before.rpartition("\n")[2]))
    return found


def save(path, text):
    return f"cat >{path} <<'END OF BLOCK'\n{text}END OF BLOCK\n"


def fragment(text):
    """Returns the commands that run a fragment of Go beside the module that the clone has for users of the SDK."""
    body = "".join("\t\t" + line for line in text.splitlines(keepends=True))
    return (
        'mkdir "$work/fragment"\n'
        + save('"$work/fragment/main.go"', FRAGMENT.replace("\t\t// The block of the page.\n", body))
        + 'sed "s|=> ../../sdk|=> $HOME/confab/sdk|" ~/confab/compat/go/go.mod >"$work/fragment/go.mod"\n'
        'cp ~/confab/compat/go/go.sum "$work/fragment"\n'
        '(cd "$work/fragment" && confab run -- go run .)\n'
        'rm -r "$work/fragment"\n'
    )


def shown(page):
    """Returns the path of a page below the root of the tree, or the name of one that is elsewhere."""
    root = Path(__file__).resolve().parent.parent.parent
    path = page.resolve()
    return str(path.relative_to(root)) if root != Path("/") and root in path.parents else page.name


def script(page, to):
    """Returns the shell script of a page, up to the block that prints to, if it is given."""
    out, run, marked = [PRELUDE], 0, 0
    name = shown(page)
    for b in blocks(name, page.read_text(encoding="utf-8")):
        output = b.language == "text" and b.attribute == "output"
        if to and run and not output:
            out.append(f"enough {shlex.quote(to)}\n")
        out.append(f"where={shlex.quote(b.where)}\n")
        if output:
            out.append(f"printed {shlex.quote(chr(10).join(l.rstrip() for l in b.text.splitlines()))}\n")
            continue
        if not b.runs:
            marked += 1
            continue
        run += 1
        out.append(f'printf "%4d s  %s\\n" $((SECONDS - began)) {shlex.quote(b.where)}\n')
        kind, _, word = b.attribute.partition("=")
        if kind not in ("", "until"):
            sys.exit(f"follow: {b.where}: {b.attribute} is not known")
        if b.language == "python" or b.language == "go" and re.search(r"^package \w+$", b.text, re.M):
            out.append(save(b.file(), b.text))
            continue
        lines = fragment(b.text) if b.language == "go" else b.text
        block = "{\n" + lines + '} >"$work/last" 2>&1 </dev/null'
        if kind == "until":
            out.append(f"fresh\nset -m\n{block} &\nbackground+=($!)\nset +m\nawait {shlex.quote(word)}\n")
        else:
            out.append(f"fresh\n{block}\n")
    if to:
        out.append(f"enough {shlex.quote(to)}\nwhere='the page, which does not print what --to says,'; exit 1\n")
    else:
        out.append(f"did='{name}: {run} blocks run, {marked} marked as not to be run,'\n")
    return "".join(out)


def main():
    options = argparse.ArgumentParser(usage="follow.py PAGE [--to TEXT] [--print]")
    options.add_argument("page", type=Path)
    options.add_argument("--to")
    options.add_argument("--print", action="store_true")
    o = options.parse_args()
    text = script(o.page, o.to)
    if o.print:
        print(text)
        return
    os.execvp("bash", ["bash", "-c", text])


main()
