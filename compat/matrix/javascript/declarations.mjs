// What a package's public type declarations say that its calls take.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

// Declarations are the interfaces and type aliases that a package exports.
export class Declarations {
  #types; // by name: the members that a type declares itself, and the text that names what else it is made of

  // constructor reads the declarations of the package in folder.
  constructor(folder) {
    const { types, typings } = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
    this.#types = exported(path.join(folder, types ?? typings));
  }

  // has reports whether the named type declares the member, or takes it from another type of the package.
  has(type, member, seen = new Set()) {
    if (seen.has(type)) return false;
    seen.add(type);
    const { members, base } = this.#types.get(type) ?? { members: [], base: "" };
    if (members.includes(member)) return true;
    const omitted = [...base.matchAll(/Omit<\w+,([^>]*)>/g)].some((m) => m[1].includes(`"${member}"`));
    return !omitted && [...base.matchAll(/\w+/g)].some((m) => this.has(m[0], member, seen));
  }
}

// exported returns the types of a declaration file, those of the files that it exports whole, and what it imports by name.
function exported(file) {
  const text = readFileSync(file, "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
  const all = new Map();
  for (const [, names, from] of text.matchAll(/\b(?:import|export)(?: type)? (\{[^}]*\}|\*) from ["'](\.[^"']*)["']/g)) {
    const other = path.join(path.dirname(file), from.replace(/(\.js)?$/, ".d.ts"));
    if (!existsSync(other)) continue;
    const types = exported(other);
    if (names === "*") types.forEach((type, name) => all.set(name, type));
    for (const [, name, alias = name] of names.matchAll(/(\w+)(?: as (\w+))?/g)) {
      if (types.has(name)) all.set(alias, types.get(name));
    }
  }
  for (const [, name, base = "", body] of text.matchAll(/\binterface (\w+)(?:\s+extends ([^{]+))?\s*\{([^}]*)\}/g)) {
    all.set(name, { members: [...body.matchAll(/(\w+)\??:/g)].map((m) => m[1]), base });
  }
  for (const [, name, base] of text.matchAll(/\btype (\w+) = ([^;{]+);/g)) all.set(name, { members: [], base });
  return all;
}
