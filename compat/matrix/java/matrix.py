"""matrix.py install|run: installs the Java releases of compat/releases.json, or takes each through src/Matrix.java and judges the lines.

It needs Python, a JDK and Maven. `run` starts it.
"""
import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASES = HERE.parent.parent / "releases.json"
TARGET = HERE / "target"
CLASSES = TARGET / "classes"

# The seconds that Maven, the compiler and one row may take.
PATIENCE = {"mvn": 900, "javac": 300, "java": 300}

PROJECT = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<parent><groupId>confab.matrix</groupId><artifactId>parent</artifactId><version>1</version><relativePath>{parent}</relativePath></parent>
<artifactId>{name}</artifactId>
<packaging>pom</packaging>
{content}
</project>
"""
DEPENDENCY = "<dependency><groupId>com.azure</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def rows_of(rows, lane, only, postgres):
    """Returns the Java rows that a run is asked for."""
    return [
        row for row in rows
        if row["language"] == "java"
        and (lane == "all" or row["lane"] == "check")
        and (not postgres or row["postgres"])
        and (not only or only == row.get("chat", row["identity"]["release"]))
    ]


def oldest_of(rows):
    """Returns the row that the scenario is compiled against: the first with a chat release. Its API is in all later ones."""
    return next(row for row in rows if row["language"] == "java" and "chat" in row)


def packages_of(row):
    """Returns the packages of a row with their releases."""
    chat = [("azure-communication-chat", row["chat"])] if "chat" in row else []
    return chat + [(row["identity"]["package"], row["identity"]["release"])]


def title_of(row):
    return " with ".join(" ".join(package) for package in packages_of(row))


def judge(row, lines, spoken):
    """Returns what is wrong with the lines of a row beside FAIL, one sentence each. spoken maps chat and identity to api-versions."""
    wrong = []
    used = set()
    for line in lines:
        entries = {line["operation"], "{operation}/{case}".format(**line)} & set(row["lacks"])
        if line["result"] == "NA":
            used |= entries
            if not entries:
                wrong.append("{}: {operation}/{case} ({client}) is NA, and releases.json does not list it: {error}".format(title_of(row), **line))
    wrong += ["{}: releases.json says that it lacks {}, but no case was NA".format(title_of(row), entry) for entry in sorted(set(row["lacks"]) - used)]
    for api in ("chat", "identity"):
        want = sorted(row.get(api + "_versions", []))
        if sorted(spoken[api]) != want:
            wrong.append("{}: spoke {} {}, releases.json lists {}".format(title_of(row), api, sorted(spoken[api]), want))
    return wrong


class Installation:
    """The folder target: for each row a Maven project in rows, with its class path, and the compiled scenario in classes."""

    def folder(self, row):
        return TARGET / "rows" / "-".join(release for _, release in packages_of(row))

    def class_path(self, row):
        """Returns the class path of a row, or None if it is not installed."""
        try:
            path = (self.folder(row) / "classpath").read_text().strip()
        except FileNotFoundError:
            return None
        return path if path and all(map(os.path.exists, path.split(os.pathsep))) else None

    def make(self, rows, oldest):
        """Installs what the rows need, and compiles the scenario. What is there is kept. A second run waits for the first."""
        TARGET.mkdir(exist_ok=True)
        lock = open(TARGET / "lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        self._resolve([row for row in [oldest] + [row for row in rows if row != oldest] if not self.class_path(row)])
        self._compile(oldest)

    def _resolve(self, rows):
        """Lets one Maven download the packages of the rows and write their class paths."""
        if not rows:
            return
        for row in rows:
            folder = self.folder(row)
            folder.mkdir(parents=True, exist_ok=True)
            dependencies = "".join(DEPENDENCY.format(*package) for package in packages_of(row))
            (folder / "pom.xml").write_text(PROJECT.format(
                parent="../../../pom.xml", name=folder.name, content="<dependencies>" + dependencies + "</dependencies>"))
        modules = "".join("<module>rows/{}</module>".format(self.folder(row).name) for row in rows)
        (TARGET / "pom.xml").write_text(PROJECT.format(parent="../pom.xml", name="rows", content="<modules>" + modules + "</modules>"))
        command = ["mvn", "--quiet", "--batch-mode", "--no-transfer-progress", "--threads", "2", "--file", TARGET / "pom.xml",
                   "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
        done = subprocess.run(command, timeout=PATIENCE["mvn"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit("compat/matrix/java: Maven could not install the packages:\n" + done.stdout)
        for row in rows:
            if not self.class_path(row):
                sys.exit("compat/matrix/java: Maven wrote no class path for {}.".format(title_of(row)))

    def _compile(self, oldest):
        """Compiles the scenario, if a source or the release that it is compiled against has changed."""
        sources = sorted((HERE / "src").glob("*.java"))
        wanted = "\n".join([title_of(oldest)] + [source.read_text() for source in sources])
        stamp = CLASSES / "sources.stamp"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(CLASSES, ignore_errors=True)
        CLASSES.mkdir()
        command = ["javac", "-proc:none", "-nowarn", "-d", CLASSES, "-cp", self.class_path(oldest), *sources]
        done = subprocess.run(command, timeout=PATIENCE["javac"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit("compat/matrix/java: the scenario does not compile:\n" + done.stdout)
        stamp.write_text(wanted)

    def take(self, row):
        """Runs the scenario. Returns the lines and the api-versions that were spoken."""
        command = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", str(CLASSES) + os.pathsep + self.class_path(row), "Matrix",
                   row.get("chat", ""), "{package} {release}".format(**row["identity"])]
        done = subprocess.run(command, timeout=PATIENCE["java"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode or not lines or "result" in lines[-1]:
            sys.exit("compat/matrix/java: {} did not end well: exit {}\n{}".format(title_of(row), done.returncode, done.stderr))
        return lines[:-1], lines[-1]


def run(rows, installation, out):
    """Takes all rows through the scenario. Returns the exit status."""
    count = {"PASS": 0, "NA": 0, "FAIL": 0}
    wrong = []
    results = open(out, "w") if out else None
    for row in rows:
        lines, spoken = installation.take(row)
        here = {"PASS": 0, "NA": 0, "FAIL": 0}
        for line in lines:
            exchange = line.pop("exchange", "")
            here[line["result"]] += 1
            if results:
                print(json.dumps(line), file=results, flush=True)
            if line["result"] == "FAIL":
                if not count["FAIL"] and here["FAIL"] == 1:
                    print("first failure: {}\n\n{}\n".format(json.dumps(line), exchange or "(no request was sent)"), flush=True)
                else:
                    print("FAIL {operation}/{case} ({client}): {error}".format(**line).splitlines()[0], flush=True)
        for result, number in here.items():
            count[result] += number
        wrong += judge(row, lines, spoken)
        print("{}: {PASS} PASS, {NA} NA, {FAIL} FAIL".format(title_of(row), **here), flush=True)
    print("java: {} rows, {} cases: {PASS} PASS, {NA} NA, {FAIL} FAIL".format(len(rows), sum(count.values()), **count))
    for sentence in wrong:
        print("compat/matrix/java: " + sentence)
    return 1 if wrong or count["FAIL"] else 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so subprocess.run ends what it runs
    asked = argparse.ArgumentParser()
    asked.add_argument("command", choices=("install", "run"))
    asked.add_argument("--lane", choices=("check", "all"), required=True)
    asked.add_argument("--only", help="one release")
    asked.add_argument("--postgres", action="store_true", help="only the rows that also run on PostgreSQL")
    asked.add_argument("--out", type=Path, help="the folder for matrix-java.jsonl")
    asked = asked.parse_args()
    listed = json.loads(RELEASES.read_text())
    rows = rows_of(listed, asked.lane, asked.only, asked.postgres)
    if not rows:
        sys.exit("compat/matrix/java: no row of releases.json is asked for: lane {}, release {}".format(asked.lane, asked.only))
    installation = Installation()
    if asked.command == "install":
        installation.make(rows, oldest_of(listed))
        return 0
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
    return run(rows, installation, asked.out and asked.out / "matrix-java.jsonl")


if __name__ == "__main__":
    sys.exit(main())
