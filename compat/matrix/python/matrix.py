"""matrix.py install|run: installs the Python releases of compat/releases.json, or takes each through scenario.py and judges the lines.

It needs nothing but Python. `run` starts it.
"""
import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASES = HERE.parent.parent / "releases.json"
KINDS = ("sync", "async")
SHOWN = 5  # failures of one release that are printed; the results have all


def rows_of(rows, lane, only, postgres):
    """Returns the Python rows that a run is asked for."""
    return [
        row for row in rows
        if row["language"] == "python"
        and (lane == "all" or row["lane"] == "check")
        and (not postgres or row["postgres"])
        and (not only or only == row.get("chat", row["identity"]["release"]))
    ]


def packages_of(row):
    """Returns the pins of the packages that a row uses: NAME==VERSION."""
    pins = ["azure-communication-chat=={chat}".format(**row)] if "chat" in row else []
    return pins + ["{package}=={release}".format(**row["identity"])]


def judge(row, lines, spoken):
    """Returns what is wrong with the lines of a row beside FAIL, one sentence each. spoken maps chat and identity to api-versions."""
    wrong = []
    name = " with ".join(packages_of(row))
    unused = set(row["lacks"])
    for line in lines:
        entries = {line["operation"], "{operation}/{case}".format(**line)} & set(row["lacks"])
        if line["result"] != "PASS":
            unused -= entries
        if line["result"] == "NA" and not entries:
            wrong.append("{}: {operation}/{case} ({client}) is NA, and releases.json does not list it: {error}".format(name, **line))
    wrong += ["{}: releases.json says that it lacks {}, but no case was NA".format(name, entry) for entry in sorted(unused)]
    for api in ("chat", "identity"):
        want = sorted(row.get(api + "_versions", []))
        if "chat" not in row and api == "chat":
            continue
        if sorted(spoken[api]) != want:
            wrong.append("{}: spoke {} {}, releases.json lists {}".format(name, api, sorted(spoken[api]), want))
    return wrong


class Installation:
    """The folders with the installed packages: .venv-SET, one for each requirements file, and .releases, one for each release."""

    def __init__(self):
        self.pins = {}  # NAME==VERSION: (the set, the line for pip)
        for line in (HERE / "packages.txt").read_text().splitlines():
            if not line.startswith("#"):
                group, pin = line.split(" ", 1)
                self.pins[pin.split()[0]] = (group, pin)

    def environment(self, row):
        """Returns the Python of a row and its module path."""
        group = max(self.pins[pin][0] for pin in packages_of(row))
        return HERE / (".venv-" + group) / "bin" / "python", [HERE / ".releases" / pin for pin in packages_of(row)]

    def make(self, rows):
        """Installs what the rows need. What is there with the same pins is kept. Two runs at a time wait for each other."""
        (HERE / ".releases").mkdir(exist_ok=True)
        with open(HERE / ".releases" / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._make(rows)

    def _make(self, rows):
        for python in sorted({self.environment(row)[0] for row in rows}):
            self._make_venv(python.parent.parent)
        any_pip = self.environment(rows[0])[0]
        with ThreadPoolExecutor(2) as two:
            list(two.map(lambda pin: self._fetch(any_pip, pin), sorted({pin for row in rows for pin in packages_of(row)})))

    def _make_venv(self, venv):
        wanted = HERE / "requirements-{}.txt".format(venv.name.split("-")[1])
        stamp, python = venv / "requirements.stamp", venv / "bin" / "python"
        if stamp.exists() and stamp.read_text() == wanted.read_text() and python.exists():  # its Python may have gone
            return
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.check_call([sys.executable, "-m", "venv", venv])
        subprocess.check_call([python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", wanted])
        subprocess.check_call([python, "-m", "pip", "check"], stdout=subprocess.DEVNULL)
        stamp.write_text(wanted.read_text())

    def _fetch(self, python, pin):
        folder, line = HERE / ".releases" / pin, self.pins[pin][1]
        stamp = folder / "pin.stamp"
        if stamp.exists() and stamp.read_text() == line:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "pin.txt").write_text(line)
        subprocess.check_call([
            python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
            "--target", folder, "--requirement", folder / "pin.txt",
        ])
        stamp.write_text(line)


def take(row, python, path):
    """Runs the scenario with the clients of both kinds. Returns the lines and the api-versions that were spoken."""
    lines, spoken = [], {"chat": set(), "identity": set()}
    for kind in KINDS:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path)))
        done = subprocess.run(
            [python, HERE / "scenario.py", json.dumps(row), kind], env=environment, stdout=subprocess.PIPE, text=True, timeout=600
        )
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode or not printed or "result" in printed[-1]:
            sys.exit("compat/matrix/python: {} ({}) did not end well: exit {}".format(" with ".join(packages_of(row)), kind, done.returncode))
        for api, versions in printed.pop().items():
            spoken[api].update(versions)
        lines += printed
    return lines, spoken


def run(rows, installation, out):
    """Takes all rows through the scenario. Returns the exit status."""
    count = {"PASS": 0, "NA": 0, "FAIL": 0}
    wrong = []
    results = open(out, "w") if out else None
    for row in rows:
        lines, spoken = take(row, *installation.environment(row))
        here = {"PASS": 0, "NA": 0, "FAIL": 0}
        for line in lines:
            exchange = line.pop("exchange", "")
            here[line["result"]] += 1
            if results:
                print(json.dumps(line), file=results, flush=True)
            if line["result"] == "FAIL":
                if not count["FAIL"] and here["FAIL"] == 1:
                    print("first failure: {}\n\n{}\n".format(json.dumps(line), exchange or "(no request was sent)"), flush=True)
                elif here["FAIL"] <= SHOWN:
                    print("FAIL {operation}/{case} ({client}): {error}".format(**line).splitlines()[0], flush=True)
        for result, number in here.items():
            count[result] += number
        wrong += judge(row, lines, spoken)
        print("{}: {PASS} PASS, {NA} NA, {FAIL} FAIL".format(" with ".join(packages_of(row)), **here), flush=True)
    print("python: {} releases, {} cases, {PASS} PASS, {NA} NA, {FAIL} FAIL".format(len(rows), sum(count.values()), **count))
    for sentence in wrong:
        print("compat/matrix/python: " + sentence)
    return 1 if wrong or count["FAIL"] else 0


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("command", choices=("install", "run"))
    asked.add_argument("--lane", choices=("check", "all"), required=True)
    asked.add_argument("--only", help="one release")
    asked.add_argument("--postgres", action="store_true", help="only the rows that also run on PostgreSQL")
    asked.add_argument("--out", type=Path, help="the folder for matrix-python.jsonl")
    asked = asked.parse_args()
    rows = rows_of(json.loads(RELEASES.read_text()), asked.lane, asked.only, asked.postgres)
    if not rows:
        sys.exit("compat/matrix/python: no row of releases.json is asked for: lane {}, release {}".format(asked.lane, asked.only))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception: subprocess ends the child that runs
    installation = Installation()
    if asked.command == "install":
        installation.make(rows)
        return 0
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
    return run(rows, installation, asked.out and asked.out / "matrix-python.jsonl")


if __name__ == "__main__":
    sys.exit(main())
