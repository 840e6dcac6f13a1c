// judge returns what is wrong with the run of a row of releases.json beside the cases that fail, as sentences.
// lines are the lines of its cases, and spoken has the api-versions that it was seen to speak: {chat, identity}, both arrays.
export function judge(row, lines, spoken) {
  const wrong = [];
  const used = new Set();
  for (const { operation, case: name, result, error } of lines.filter((l) => l.result === "NA")) {
    const known = [`${operation}/${name}`, operation].find((k) => k in row.lacks);
    if (known) used.add(known);
    else wrong.push(`${operation}/${name} is ${result} (${error}), and "lacks" does not say so`);
  }
  for (const key of Object.keys(row.lacks)) {
    if (!used.has(key)) wrong.push(`"lacks" says ${key}, but the release has it`);
    else if (lines.some((l) => l.operation === key && l.result !== "NA")) wrong.push(`"lacks" says ${key}, but the release has a part of it`);
  }
  for (const [what, listed] of [["chat", row.chat_versions ?? []], ["identity", row.identity_versions]]) {
    const seen = spoken[what].toSorted().join(", ");
    if (seen !== listed.toSorted().join(", ")) wrong.push(`it spoke ${what} ${seen || "not at all"}, and the list says ${listed.join(", ")}`);
  }
  return wrong;
}
